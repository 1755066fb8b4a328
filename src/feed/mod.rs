//! Placeholder of the room `feed`.
