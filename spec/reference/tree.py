#!/usr/bin/env python3
"""Naive reader of trees, written from spec/tree.md and spec/digest.md alone, with nothing but the standard library.

It is the oracle of tests: slow, without cleverness, and sharing no code with the store. It checks every digest, every
rule of the encoding and the rule by which directories are cut into pages, and prints one line for every path:

    path type mode uid gid mtime xattrs link content

with bytes in hexadecimal and "-" for what is absent. Usage: tree.py FILE, where FILE is JSON:
{"root": "<id>", "objects": {"<id>": "<bytes>", ...}}, all in hexadecimal.
"""

import json
import sys

# --- BLAKE3, from its specification ---

IV = [0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19]
PERMUTATION = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8]
CHUNK_START, CHUNK_END, PARENT, ROOT, DERIVE_CONTEXT, DERIVE_MATERIAL = 1, 2, 4, 8, 32, 64
MASK = 0xFFFFFFFF


def compress(chaining, words, counter, block_len, flags):
    v = chaining[:8] + IV[:4] + [counter & MASK, counter >> 32, block_len, flags]
    m = words[:]

    def rotate(x, n):
        return (x >> n | x << 32 - n) & MASK

    def g(a, b, c, d, x, y):
        v[a] = (v[a] + v[b] + x) & MASK
        v[d] = rotate(v[d] ^ v[a], 16)
        v[c] = (v[c] + v[d]) & MASK
        v[b] = rotate(v[b] ^ v[c], 12)
        v[a] = (v[a] + v[b] + y) & MASK
        v[d] = rotate(v[d] ^ v[a], 8)
        v[c] = (v[c] + v[d]) & MASK
        v[b] = rotate(v[b] ^ v[c], 7)

    for _ in range(7):
        for i in range(4):
            g(i, 4 + i, 8 + i, 12 + i, m[2 * i], m[2 * i + 1])
        for i in range(4):
            g(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4, m[8 + 2 * i], m[9 + 2 * i])
        m = [m[p] for p in PERMUTATION]
    return [v[i] ^ v[i + 8] for i in range(8)]


def words_of(block):
    block = block.ljust(64, b"\0")
    return [int.from_bytes(block[i : i + 4], "little") for i in range(0, 64, 4)]


def blake3(data, key=None, flags=0):
    key = key or IV

    def output(data, counter):
        """The last compression of a sub-tree, not done yet, because the root's has a flag of its own."""
        if len(data) <= 1024:
            blocks = [data[i : i + 64] for i in range(0, len(data), 64)] or [b""]
            chaining = key
            for i, block in enumerate(blocks[:-1]):
                start = CHUNK_START if i == 0 else 0
                chaining = compress(chaining, words_of(block), counter, 64, flags | start)
            start = CHUNK_START if len(blocks) == 1 else 0
            return chaining, words_of(blocks[-1]), counter, len(blocks[-1]), flags | start | CHUNK_END
        left_len = 1024
        while left_len * 2 < len(data):
            left_len *= 2
        left = compress(*output(data[:left_len], counter))
        right = compress(*output(data[left_len:], counter + left_len // 1024))
        return key, left + right, 0, 64, flags | PARENT

    chaining, words, counter, block_len, last_flags = output(data, 0)
    return b"".join(w.to_bytes(4, "little") for w in compress(chaining, words, 0, block_len, last_flags | ROOT))


def derive_key(context, data):
    key = blake3(context, flags=DERIVE_CONTEXT)
    key = [int.from_bytes(key[i : i + 4], "little") for i in range(0, 32, 4)]
    return blake3(data, key, DERIVE_MATERIAL)


TREE_CONTEXT = b"dominator 2026-11 tree v1"
LINK_CONTEXT = b"dominator 2026-11 link group v1"
EMPTY_BLOB = blake3(b"")

# --- deterministic CBOR ---


def check(condition, what):
    if not condition:
        raise ValueError(what)


class Reader:
    def __init__(self, data):
        self.data, self.pos = data, 0

    def take(self, count):
        check(self.pos + count <= len(self.data), "truncated")
        self.pos += count
        return self.data[self.pos - count : self.pos]

    def head(self):
        first = self.take(1)[0]
        major, low = first >> 5, first & 31
        if low < 24:
            return major, low
        check(low <= 27, "indefinite or reserved length")
        size = 1 << low - 24
        value = int.from_bytes(self.take(size), "big")
        check(value >= (24 if size == 1 else 1 << 4 * size), "number not in its shortest form")
        return major, value

    def expect(self, wanted):
        major, value = self.head()
        check(major == wanted, "unexpected type")
        return value

    def uint(self):
        return self.expect(0)

    def int(self):
        major, value = self.head()
        check(major in (0, 1), "unexpected type")
        check(value < 1 << 63, "number too large")
        return value if major == 0 else -1 - value

    def bytes(self):
        return self.take(self.expect(2))

    def array(self):
        return self.expect(4)

    def pairs(self):
        last = -1
        for _ in range(self.expect(5)):
            key = self.uint()
            check(key > last, "keys do not ascend")
            last = key
            yield key


# --- spec/tree.md ---

DIR, FILE, SYMLINK, BLOCK, CHAR, FIFO = range(1, 7)
WORDS = {DIR: "dir", FILE: "file", SYMLINK: "symlink", BLOCK: "block", CHAR: "char", FIFO: "fifo"}
META_KEYS = {3, 4, 5, 6, 7, 8}
CONTENT_KEYS = {FILE: {10, 11, 12}, SYMLINK: {13}, BLOCK: {14, 15}, CHAR: {14, 15}, FIFO: set()}


def read_name(reader):
    name = reader.bytes()
    check(1 <= len(name) <= 255 and name not in (b".", b"..") and not set(name) & set(b"/\0"), "name")
    return name


def read_meta_pair(key, reader):
    if key == 6:
        return reader.int()
    if key != 8:
        value = reader.uint()
        check(value <= {3: 0o7777, 4: 0xFFFFFFFF, 5: 0xFFFFFFFF, 7: 999_999_999}[key], "metadata")
        return value
    xattrs, count = [], reader.array()
    check(1 <= count <= 256, "attributes")
    for _ in range(count):
        check(reader.array() == 2, "attribute")
        xattrs.append((reader.bytes(), reader.bytes()))
    names = [name for name, _ in xattrs]
    check(all(a < b for a, b in zip(names, names[1:])), "attributes do not ascend")
    check(all(1 <= len(name) <= 255 and 0 not in name for name in names), "attribute name")
    check(sum(len(name) + len(value) for name, value in xattrs) <= 131_072, "attributes too long")
    return xattrs


def check_meta(pairs):
    check({3, 4, 5} <= pairs.keys() and (6 in pairs) == (7 in pairs), "metadata incomplete")


def read_holes(reader):
    count = reader.array()
    check(2 <= count <= 2048 and count % 2 == 0, "holes")
    return [(reader.uint(), reader.uint()) for _ in range(count // 2)]


def check_holes(size, holes):
    last_end = -1
    for offset, length in holes:
        end = offset + length
        check(length > 0 and offset % 4096 == 0 and end <= size and (end % 4096 == 0 or end == size), "hole")
        check(offset > last_end, "holes touch or do not ascend")
        last_end = end


def read_entry(reader):
    pairs = {}
    for key in reader.pairs():
        if key == 0:
            pairs[key] = read_name(reader)
        elif key in (1, 10, 14, 15):
            pairs[key] = reader.uint()
        elif key in META_KEYS:
            pairs[key] = read_meta_pair(key, reader)
        elif key == 12:
            pairs[key] = read_holes(reader)
        else:
            check(key in (2, 9, 11, 13), "unknown key")
            pairs[key] = reader.bytes()
    kind = pairs.get(1)
    check(0 in pairs and kind in WORDS, "entry without name or type")
    if kind == DIR:
        check(pairs.keys() == {0, 1, 2} and len(pairs[2]) == 32, "directory entry")
        return pairs
    check_meta(pairs)
    check(pairs.keys() - META_KEYS - {0, 1, 9} <= CONTENT_KEYS[kind], "key of another type")
    check(len(pairs.get(9, b" " * 16)) == 16, "link group")
    if kind == FILE:
        check(10 in pairs and (pairs[10] == 0) == (11 not in pairs), "file without blob")
        check(len(pairs.get(11, EMPTY_BLOB)) == 32 and pairs[10] <= 1 << 44, "blob or size")
        check_holes(pairs[10], pairs.get(12, []))
    else:
        check(CONTENT_KEYS[kind] <= pairs.keys(), "content missing")
    if kind == SYMLINK:
        check(1 <= len(pairs[13]) <= 4095 and 0 not in pairs[13] and pairs[3] == 0o777, "symlink")
    return pairs


def read_object(data):
    """Returns metadata or None, entries with their encoded lengths or None, page references or None."""
    reader = Reader(data)
    meta, entries, pages = None, None, None
    check(len(data) <= 524_288, "object too long")
    for key in reader.pairs():
        if key == 0:
            meta = {}
            for meta_key in reader.pairs():
                check(meta_key in META_KEYS, "unknown key")
                meta[meta_key] = read_meta_pair(meta_key, reader)
            check_meta(meta)
        elif key == 1:
            count = reader.array()
            check(count <= 16, "too many entries")
            entries = []
            for _ in range(count):
                start = reader.pos
                entry = read_entry(reader)
                entries.append((entry, reader.pos - start))
        else:
            check(key == 2, "unknown key")
            count = reader.array()
            check(2 <= count <= 16, "number of pages")
            pages = []
            for _ in range(count):
                check(reader.array() == 3, "page")
                pages.append((read_name(reader), reader.bytes(), reader.uint()))
                check(len(pages[-1][1]) == 32, "page")
    check(reader.pos == len(data), "bytes left over")
    check((entries is None) != (pages is None), "neither entries nor pages, or both")
    return meta, entries, pages


def boundary(name, level):
    return int.from_bytes(blake3(name)[:8], "little") >> 3 * min(level, 20) & 7 == 0


def cut_entries(entries):
    """Step 1 of spec/tree.md#pages: the numbers of entries of the pages of level 0."""
    runs, count, length = [], 0, 0
    for entry, encoded_len in entries:
        count, length = count + 1, length + encoded_len
        if boundary(entry[0], 0) or count == 16 or length >= 65_536:
            runs.append(count)
            count, length = 0, 0
    return runs + [count] if count else runs


def cut_pages(last_names, level):
    """Step 3: the numbers of references of the pages of a level."""
    runs, count = [], 0
    for name in last_names:
        count += 1
        if count == 16 or (count >= 2 and boundary(name, level)):
            runs.append(count)
            count = 0
    if count == 1 and runs:
        if runs[-1] < 16:
            runs[-1] += 1
            return runs
        runs[-1] -= 1
        count = 2
    return runs + [count] if count else runs


def shape_of(entries):
    """The canonical nesting of pages, as lists of lists of numbers of entries."""
    runs = cut_entries(entries)
    if len(runs) <= 1:
        return len(entries)
    shape, last_names, pos = runs, [], 0
    for count in runs:
        pos += count
        last_names.append(entries[pos - 1][0][0])
    level = 1
    while True:
        runs = cut_pages(last_names, level)
        if len(runs) <= 1:
            return shape
        nested, names, pos = [], [], 0
        for count in runs:
            nested.append(shape[pos : pos + count])
            pos += count
            names.append(last_names[pos - 1])
        shape, last_names, level = nested, names, level + 1


class Store:
    def __init__(self, objects):
        self.objects = {bytes.fromhex(key): bytes.fromhex(value) for key, value in objects.items()}
        for key, value in self.objects.items():
            check(derive_key(TREE_CONTEXT, value) == key, "digest of " + key.hex())

    def collect(self, page, entries):
        """Appends the entries of a page and returns its shape."""
        meta, own, pages = read_object(self.objects[page])
        check(meta is None, "page with metadata")
        return self.collect_body(own, pages, entries)

    def collect_body(self, own, pages, entries):
        if own is not None:
            entries.extend(own)
            return len(own)
        shape = []
        for first, page, count in pages:
            start = len(entries)
            shape.append(self.collect(page, entries))
            check(entries[start][0][0] == first and len(entries) - start == count, "page reference")
        return shape

    def directory(self, top):
        meta, own, pages = read_object(self.objects[top])
        check(meta is not None, "directory without metadata")
        entries = []
        shape = self.collect_body(own, pages, entries)
        names = [entry[0] for entry, _ in entries]
        check(all(a < b for a, b in zip(names, names[1:])), "names do not ascend")
        check(shape == shape_of(entries), "pages are not the canonical ones")
        return meta, [entry for entry, _ in entries]

    def walk(self, top, path=b"", depth=0):
        check(depth <= 128 and len(path) <= 4095, "too deep")
        meta, entries = self.directory(top)
        yield path, DIR, meta
        for entry in entries:
            at = path + b"/" + entry[0] if path else entry[0]
            if entry[1] == DIR:
                yield from self.walk(entry[2], at, depth + 1)
            else:
                yield at, entry[1], entry


def line(path, kind, pairs):
    mtime = f"{pairs[6]}.{pairs[7]:09}" if 6 in pairs else "-"
    xattrs = ",".join(f"{name.hex()}={value.hex()}" for name, value in pairs.get(8, [])) or "-"
    content = "-"
    if kind == FILE:
        holes = ",".join(f"{offset}+{length}" for offset, length in pairs.get(12, [])) or "-"
        content = f"{pairs[10]}:{pairs.get(11, EMPTY_BLOB).hex()}:{holes}"
    elif kind == SYMLINK:
        content = pairs[13].hex()
    elif kind in (BLOCK, CHAR):
        content = f"{pairs[14]}:{pairs[15]}"
    link = pairs[9].hex() if kind != DIR and 9 in pairs else "-"
    fields = [path.hex() or "-", WORDS[kind], f"{pairs[3]:o}", pairs[4], pairs[5], mtime, xattrs, link, content]
    return " ".join(map(str, fields))


def check_links(items):
    groups = {}
    for path, kind, pairs in items:
        if kind != DIR and 9 in pairs:
            groups.setdefault(pairs[9], []).append((path, {key: pairs[key] for key in pairs if key != 0}))
    for group, members in groups.items():
        least = min((path.split(b"/"), path) for path, _ in members)[1]
        check(len(members) >= 2, "link group of one")
        check(derive_key(LINK_CONTEXT, least)[:16] == group, "id of link group")
        check(all(pairs == members[0][1] for _, pairs in members), "members of a link group differ")


def main():
    with open(sys.argv[1], encoding="ascii") as file:
        given = json.load(file)
    items = list(Store(given["objects"]).walk(bytes.fromhex(given["root"])))
    check_links(items)
    for path, kind, pairs in items:
        print(line(path, kind, pairs))


if __name__ == "__main__":
    main()
