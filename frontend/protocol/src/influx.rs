//! InfluxDB's write API: line protocol over HTTP, versions 1 and 2.

pub mod decode;
pub mod outcome;
pub mod precision;
pub mod serve;
