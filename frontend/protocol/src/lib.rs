#![doc = include_str!("../README.md")]

pub mod gateway;
pub mod influx;
pub mod output;
pub mod session;
