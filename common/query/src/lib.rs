#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

pub mod column;
pub mod context;
pub mod error;
pub mod exchange;
pub mod fragment;
pub mod operator;
pub mod predicate;
pub mod zone;
