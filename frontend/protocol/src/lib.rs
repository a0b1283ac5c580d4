#![doc = include_str!("../README.md")]

mod accept;
pub mod gateway;
pub mod http;
pub mod influx;
pub mod mux;
pub mod mysql;
pub mod output;
pub mod postgres;
pub mod process;
pub mod session;
mod stream;
#[cfg(test)]
mod tests;
