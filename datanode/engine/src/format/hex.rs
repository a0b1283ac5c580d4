//! 128-bit ids as hex text in JSON: numbers that wide do not survive other readers.

macro_rules! hex_id {
    ($($module:ident, $id:ident;)*) => {$(
        /// Serde adapter of one id type, also behind `Option`.
        pub mod $module {
            use serde::{Deserialize, Deserializer, Serializer};
            use varve_model::id::$id;

            use super::{HexField, parse};

            /// Writes 32 hex digits.
            #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's shape")]
            pub fn serialize<T: HexField<$id>, S: Serializer>(id: &T, serializer: S) -> Result<S::Ok, S::Error> {
                match id.get() {
                    Some(id) => serializer.collect_str(&format_args!("{:032x}", id.0)),
                    None => serializer.serialize_none(),
                }
            }

            /// Reads 32 hex digits.
            pub fn deserialize<'de, T: HexField<$id>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
                let text = Option::<String>::deserialize(deserializer)?;
                let id = text.map(|text| parse(&text).ok_or_else(|| serde::de::Error::custom("not 32 hex digits")));
                T::set(id.transpose()?.map($id)).ok_or_else(|| serde::de::Error::custom("an id is missing"))
            }
        }
    )*};
}

/// An id or an optional id.
pub trait HexField<Id>: Sized {
    /// The id.
    fn get(&self) -> Option<Id>;
    /// From what was read; `None` when an id is needed and missing.
    fn set(id: Option<Id>) -> Option<Self>;
}

impl<Id: Copy> HexField<Id> for Id {
    fn get(&self) -> Option<Id> {
        Some(*self)
    }

    fn set(id: Option<Id>) -> Option<Self> {
        id
    }
}

impl<Id: Copy> HexField<Id> for Option<Id> {
    fn get(&self) -> Option<Id> {
        *self
    }

    fn set(id: Option<Id>) -> Option<Self> {
        Some(id)
    }
}

fn parse(text: &str) -> Option<u128> {
    if text.len() == 32 { u128::from_str_radix(text, 16).ok() } else { None }
}

hex_id! {
    volume, VolumeId;
    cluster, ClusterId;
    nonce, Nonce;
    incarnation, Incarnation;
}
