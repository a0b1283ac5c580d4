//! Fields that persisted records keep free for what comes later.
//!
//! A field of such a type is never written, and its absence means what records
//! mean without it. A reader that finds a value refuses the record by name: who
//! wrote it knew how to read the data, and whoever passes over the field does not.

use std::fmt;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[cfg(test)]
mod tests;

macro_rules! reserved {
    ($($(#[$doc:meta])* $name:ident $field:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {}

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                match *self {}
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Refuse;
                impl Visitor<'_> for Refuse {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(concat!("'", $field, "' to be left out: a newer varve wrote this"))
                    }
                }
                deserializer.deserialize_any(Refuse)
            }
        }
    )*};
}

reserved! {
    /// How values of one field merge, beyond the table's mode: sum, min, max, first, last.
    ColumnMerge "merge";
    /// A word for what a reader of a table must know to read it rightly.
    Requirement "requires";
}
