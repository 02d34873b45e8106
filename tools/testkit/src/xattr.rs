//! Values of extended attributes, as the kernel stores them.
//!
//! Owns access lists and file capabilities as raw bytes. Invariant: the kernel accepts them.
//!
//! Does not set them.

/// Name of the attribute that holds the access list of an inode.
pub const ACL_ACCESS: &[u8] = b"system.posix_acl_access";
/// Name of the attribute that holds what new entries of a directory inherit.
pub const ACL_DEFAULT: &[u8] = b"system.posix_acl_default";
/// Name of the attribute that holds capabilities.
pub const CAPABILITY: &[u8] = b"security.capability";

/// Makes an access list: permissions (0 to 7) of the owner, of named users, of the group, the mask, and of others.
pub fn acl(owner: u16, users: &[(u32, u16)], group: u16, mask: u16, other: u16) -> Vec<u8> {
    const NOBODY: u32 = u32::MAX;
    let mut users = users.to_vec();
    users.sort_unstable();
    let mut bytes = 2u32.to_le_bytes().to_vec();
    let mut entry = |tag: u16, permissions: u16, id: u32| {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&permissions.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    };
    entry(0x01, owner, NOBODY);
    for (uid, permissions) in users {
        entry(0x02, permissions, uid);
    }
    entry(0x04, group, NOBODY);
    entry(0x10, mask, NOBODY);
    entry(0x20, other, NOBODY);
    bytes
}

/// Makes the capabilities of a file, revision 2, effective: one bit for each of the first 32.
pub fn capability(permitted: u32) -> Vec<u8> {
    let words = [0x0200_0001, permitted, 0, 0, 0];
    words.iter().flat_map(|word: &u32| word.to_le_bytes()).collect()
}
