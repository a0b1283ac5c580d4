#![doc = include_str!("../README.md")]

pub mod cluster;
pub mod etcd;
pub mod http;
pub mod ports;
pub mod process;
pub mod program;
pub mod s3;
