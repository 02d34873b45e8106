//! Tree objects in memory.
//!
//! Owns a cache bounded by bytes, which drops what was not used for longest. Invariant: the sum of lengths is never above
//! the limit.
//!
//! Does not verify objects: they come verified.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use dominator_store_core::TreeId;

#[derive(Debug)]
pub(super) struct TreeCache {
    objects: HashMap<TreeId, (Arc<[u8]>, u64)>,
    by_use: BTreeMap<u64, TreeId>,
    use_count: u64,
    len: usize,
    len_max: usize,
}

impl TreeCache {
    pub(super) fn new(len_max: usize) -> Self {
        Self { objects: HashMap::new(), by_use: BTreeMap::new(), use_count: 0, len: 0, len_max }
    }

    pub(super) fn get(&mut self, id: TreeId) -> Option<Arc<[u8]>> {
        let (bytes, last_use) = self.objects.get_mut(&id)?;
        self.by_use.remove(last_use);
        self.use_count += 1;
        *last_use = self.use_count;
        self.by_use.insert(self.use_count, id);
        Some(Arc::clone(bytes))
    }

    pub(super) fn put(&mut self, id: TreeId, bytes: Arc<[u8]>) {
        if self.get(id).is_some() || bytes.len() > self.len_max {
            return;
        }
        self.len += bytes.len();
        self.use_count += 1;
        self.objects.insert(id, (bytes, self.use_count));
        self.by_use.insert(self.use_count, id);
        while self.len > self.len_max
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            if let Some((bytes, _)) = self.objects.remove(&oldest) {
                self.len -= bytes.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_is_dropped() {
        let mut cache = TreeCache::new(30);
        let id = |name: u8| TreeId::of(&[name]);
        for name in 0..3 {
            cache.put(id(name), Arc::from([name; 10]));
        }
        assert!(cache.get(id(0)).is_some());
        cache.put(id(3), Arc::from([3; 10]));
        cache.put(id(9), Arc::from([9; 31]));
        let kept: Vec<_> = (0..10).filter(|name| cache.get(id(*name)).is_some()).collect();
        assert_eq!((kept, cache.len, cache.by_use.len()), (vec![0, 2, 3], 30, 3));
    }
}
