#![doc = include_str!("../README.md")]

pub mod call;
pub mod datanode;
pub mod metasrv;
