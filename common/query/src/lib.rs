//! The DataFusion kit that frontend and datanode agree on.
