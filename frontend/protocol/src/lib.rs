#![doc = include_str!("../README.md")]

pub mod gateway;
pub mod http;
pub mod influx;
#[cfg(test)]
mod mock;
pub mod mux;
pub mod output;
pub mod postgres;
pub mod session;
