//! Placeholder of the room `app`.
