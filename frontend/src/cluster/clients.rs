//! Datanodes at the addresses that a view has of them.

use std::sync::Arc;

use varve_model::id::NodeId;
use varve_model::{Error, Result};
use varve_proto::datanode::{self, Connect, DatanodeApi};

use super::view::View;

/// Clients by node.
#[derive(Debug)]
pub(crate) struct Clients(datanode::Clients);

impl Clients {
    pub(crate) fn new(connect: Connect) -> Self {
        Self(datanode::Clients::new(connect))
    }

    /// The client of a node. Errors: `Unavailable` when the view has no address of it.
    pub(crate) fn client(&self, view: &View, node: NodeId) -> Result<Arc<dyn DatanodeApi>> {
        let address = view.nodes.get(&node);
        let unknown = || Error::unavailable(format!("the address of datanode {node} is not known yet"));
        self.0.client(node, address.ok_or_else(unknown)?)
    }
}
