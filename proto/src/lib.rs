#![doc = include_str!("../README.md")]

pub mod call;
mod convert;
pub mod datanode;
mod flight;
pub mod grpc;
pub mod metasrv;
pub mod status;

/// What the build script made of varve/v1/*.proto.
mod wire {
    #![allow(
        clippy::pedantic,
        clippy::allow_attributes_without_reason,
        clippy::large_futures,
        unreachable_pub,
        missing_debug_implementations,
        reason = "generated code"
    )]
    tonic::include_proto!("varve.v1");
}
