#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

pub mod batch;
pub mod budget;
pub mod error;
pub mod id;
pub mod limits;
pub mod matcher;
pub mod name;
pub mod partition;
pub mod region;
pub mod rows;
pub mod scan;
pub mod schema;
pub mod series;
pub mod table;
pub mod time;
pub mod value;

pub use error::{Error, ErrorKind, Reason, Result, ResultExt};
