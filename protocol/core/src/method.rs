//! Methods: what can be asked of a peer (`spec/wire.md#methods`).
//!
//! Owns the list of methods, their tags and their names. Invariants: tags and names are total, distinct and never reused;
//! the name is the one that permissions and people use.
//!
//! Does not say who may call what: that is `permission`.

use std::fmt;

use crate::FrameRule;

/// What the name in a permission's scope is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScopeKind {
    /// The method has no scope; a scoped permission never allows it.
    Nothing,
    /// An image name, or the prefix of image names.
    ImageName,
    /// The host name of a machine.
    Host,
}

macro_rules! methods {
    ($( $(#[$doc:meta])* $method:ident = $tag:literal $name:literal $scope:ident ),* $(,)?) => {
        /// A method of one of the daemons.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Method { $( $(#[$doc])* $method, )* }

        impl Method {
            /// Every method, in tag order.
            pub const ALL: &'static [Self] = &[ $( Self::$method, )* ];

            /// Returns the tag on the wire.
            pub const fn tag(self) -> u8 {
                match self { $( Self::$method => $tag, )* }
            }

            /// Reads a tag; unknown tags are `None`.
            pub const fn from_tag(tag: u8) -> Option<Self> {
                match tag { $( $tag => Some(Self::$method), )* _ => None }
            }

            /// Returns the name, as it stands in permissions.
            pub const fn name(self) -> &'static str {
                match self { $( Self::$method => $name, )* }
            }

            /// Returns what a scope of this method names.
            pub const fn scope(self) -> ScopeKind {
                match self { $( Self::$method => ScopeKind::$scope, )* }
            }
        }
    };
}

methods! {
    /// Lists images by name.
    ImageList = 1 "Image.List" ImageName,
    /// Returns one encoded image.
    ImageGet = 2 "Image.Get" ImageName,
    /// Sends what the server lacks of an image, and makes the image visible.
    ImagePublish = 3 "Image.Publish" ImageName,
    /// Makes an image invisible.
    ImageDelete = 4 "Image.Delete" ImageName,
    /// Returns stored objects.
    ObjectGet = 8 "Object.Get" Nothing,
    /// Returns the recipes of blobs.
    ObjectRecipes = 9 "Object.Recipes" Nothing,
    /// Returns the state of a machine.
    MachinePoll = 12 "Machine.Poll" Nothing,
    /// Returns tree objects of a machine's own scan.
    MachineTrees = 13 "Machine.Trees" Nothing,
    /// Tells a machine which image is required.
    MachineRequire = 14 "Machine.Require" Nothing,
    /// Tells a machine to fetch what it lacks of an image.
    MachineFetch = 15 "Machine.Fetch" Nothing,
    /// Tells a machine to become an image.
    MachineUpdate = 16 "Machine.Update" Nothing,
    /// Lists the machines of a controller.
    FleetList = 20 "Fleet.List" Nothing,
    /// Returns one machine of a controller in detail.
    FleetShow = 21 "Fleet.Show" Host,
}

impl Method {
    /// Returns what the side that answers may receive.
    pub const fn request_rule(self) -> FrameRule {
        match self {
            Self::ImagePublish => FrameRule::Records,
            _ => FrameRule::Messages,
        }
    }

    /// Returns what the side that asks may receive.
    pub const fn reply_rule(self) -> FrameRule {
        match self {
            Self::ObjectGet | Self::ObjectRecipes => FrameRule::Records,
            _ => FrameRule::Messages,
        }
    }

    /// Finds a method by its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|method| method.name() == name)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn tags_and_names_are_total_and_distinct() {
        for &method in Method::ALL {
            assert_eq!(Method::from_tag(method.tag()), Some(method));
            assert_eq!(Method::from_name(method.name()), Some(method));
        }
        let names: BTreeSet<_> = Method::ALL.iter().map(|method| method.name()).collect();
        assert_eq!(names.len(), Method::ALL.len());
        assert_eq!((0..=u8::MAX).filter_map(Method::from_tag).count(), Method::ALL.len());
    }
}
