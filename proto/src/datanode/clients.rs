//! A client per datanode, made when first needed and again when the node moved.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use varve_model::Result;
use varve_model::id::NodeId;

use super::DatanodeApi;

#[cfg(test)]
mod tests;

/// Makes a client of the datanode at an address; in process the address is empty.
pub type Connect = Arc<dyn Fn(NodeId, &str) -> Result<Arc<dyn DatanodeApi>> + Send + Sync>;

/// A client and the address that it was made for.
type Open = (String, Arc<dyn DatanodeApi>);

/// Clients by node.
pub struct Clients {
    connect: Connect,
    open: Mutex<BTreeMap<NodeId, Open>>,
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").field("open", &self.open.lock().keys()).finish_non_exhaustive()
    }
}

impl Clients {
    /// No clients yet.
    pub fn new(connect: Connect) -> Self {
        Self { connect, open: Mutex::default() }
    }

    /// The client of a node at its address. Errors: those of the connector.
    pub fn client(&self, node: NodeId, address: &str) -> Result<Arc<dyn DatanodeApi>> {
        let mut open = self.open.lock();
        if let Some((known, client)) = open.get(&node)
            && known == address
        {
            return Ok(Arc::clone(client));
        }
        let client = (self.connect)(node, address)?;
        open.insert(node, (address.to_owned(), Arc::clone(&client)));
        Ok(client)
    }
}
