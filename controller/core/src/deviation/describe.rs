//! Words for a deviation.
//!
//! Owns the text that people see: what is wrong on the machine, with both values where they are short. Invariant: the text
//! has no control characters, whatever a file is called or a symlink points to.
//!
//! Does not find deviations: that is `descent`.

use dominator_store_core::{Aspect, Content, Difference, Item, Name};

/// Says how the machine (the old side) deviates from the image (the new side).
pub fn describe(difference: &Difference) -> String {
    let (machine, image) = match (&difference.old, &difference.new) {
        (None, None) => return "no difference".to_owned(),
        (None, Some(image)) => return format!("{} is missing", image.type_word()),
        (Some(machine), None) => return format!("extra {}", machine.type_word()),
        (Some(machine), Some(image)) => (machine, image),
    };
    let words: Vec<_> =
        difference.aspects().into_iter().map(|aspect| describe_aspect(aspect, machine, image)).collect();
    words.join("; ")
}

fn describe_aspect(aspect: Aspect, machine: &Item, image: &Item) -> String {
    let (ours, theirs) = (machine.meta(), image.meta());
    match aspect {
        Aspect::Type => format!("{}, required {}", machine.type_word(), image.type_word()),
        Aspect::Mode => format!("mode {:04o}, required {:04o}", ours.mode, theirs.mode),
        Aspect::Owner => format!("owner {}:{}, required {}:{}", ours.uid, ours.gid, theirs.uid, theirs.gid),
        Aspect::Target => match (target(machine), target(image)) {
            (Some(ours), Some(theirs)) => format!("target {ours}, required {theirs}"),
            _ => "target differs".to_owned(),
        },
        Aspect::Content => match (machine.blob(), image.blob()) {
            (Some((_, ours)), Some((_, theirs))) if ours != theirs => {
                format!("content differs ({ours} bytes, required {theirs})")
            }
            _ => "content differs".to_owned(),
        },
        Aspect::Xattrs => {
            let names = |item: &Item| -> Vec<_> { item.meta().xattrs.clone() };
            let (ours, theirs) = (names(machine), names(image));
            let odd = ours.iter().filter(|x| !theirs.contains(x)).chain(theirs.iter().filter(|x| !ours.contains(x)));
            let mut odd: Vec<String> = odd.map(|xattr| escape(&xattr.name)).collect();
            odd.sort();
            odd.dedup();
            odd.truncate(XATTR_EXAMPLE_COUNT);
            format!("xattrs differ ({})", odd.join(", "))
        }
        Aspect::Mtime => match (ours.mtime, theirs.mtime) {
            (Some(ours), Some(theirs)) => format!(
                "mtime {}.{:09}, required {}.{:09}",
                ours.seconds, ours.nanoseconds, theirs.seconds, theirs.nanoseconds
            ),
            _ => "mtime differs".to_owned(),
        },
        Aspect::Device => "device number differs".to_owned(),
        Aspect::Link => "hard links differ".to_owned(),
        Aspect::Holes => "holes differ".to_owned(),
        Aspect::Added | Aspect::Removed => aspect.word().to_owned(),
    }
}

fn target(item: &Item) -> Option<String> {
    match item {
        Item::Leaf(leaf) => match &leaf.content {
            Content::Symlink { target } => Some(escape(target)),
            _ => None,
        },
        Item::Dir(_) => None,
    }
}

/// Makes raw bytes printable, component by component, in the way names are printed.
fn escape(bytes: &[u8]) -> String {
    let shown = bytes.get(..ESCAPED_LEN_MAX).unwrap_or(bytes);
    let components = shown.split(|byte| *byte == b'/').map(|component| match Name::new(component) {
        Ok(name) => name.to_string(),
        // Empty, `.` or `..`; bytes that a name cannot have do not occur in targets and attribute names.
        Err(_) => component.escape_ascii().to_string(),
    });
    let text = components.collect::<Vec<_>>().join("/");
    if shown.len() < bytes.len() { format!("{text}...") } else { text }
}

const XATTR_EXAMPLE_COUNT: usize = 5;
const ESCAPED_LEN_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use dominator_store_core::{BlobId, Leaf, Meta, TreePath, Xattr};

    use super::*;

    fn file(mode: u16, uid: u32, bytes: &[u8]) -> Item {
        let content = Content::File { size: bytes.len() as u64, blob: BlobId::of(bytes), holes: Vec::new() };
        Item::Leaf(Leaf { meta: Meta::new(mode, uid, 0), link: None, content })
    }

    #[test]
    fn every_deviation_has_words() {
        let check = |old: Option<Item>, new: Option<Item>, text: &str| {
            assert_eq!(describe(&Difference { path: TreePath::root(), old, new }), text);
        };
        let dir = Item::Dir(Meta::new(0o755, 0, 0));
        let link = |target: &[u8]| {
            let content = Content::Symlink { target: target.into() };
            Item::Leaf(Leaf { meta: Meta::new(0o777, 0, 0), link: None, content })
        };
        let mut capable = file(0o755, 0, b"x");
        if let Item::Leaf(leaf) = &mut capable {
            leaf.meta.xattrs = vec![Xattr { name: b"security.capability"[..].into(), value: b"v"[..].into() }];
        }
        check(None, Some(dir.clone()), "directory is missing");
        check(Some(file(0o644, 0, b"")), None, "extra file");
        check(Some(dir), Some(link(b"x")), "directory, required symlink");
        check(
            Some(file(0o4755, 7, b"evil")),
            Some(file(0o755, 0, b"x")),
            "content differs (4 bytes, required 1); mode 4755, required 0755; owner 7:0, required 0:0",
        );
        check(Some(link(b"../a\x1b\n/b")), Some(link(b"/c")), "target ../a\\x1b\\x0a/b, required /c");
        check(Some(capable), Some(file(0o755, 0, b"x")), "xattrs differ (security.capability)");
    }
}
