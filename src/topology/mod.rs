//! Streams, KV buckets, consumers, accounts and rights as one declaration: checked, compared with a server, applied,
//! audited.
//!
//! | file | what it knows |
//! |---|---|
//! | [`model`] | what can be declared, with its defaults |
//! | [`load`] | files to a declaration |
//! | [`validate`] | what is wrong with a declaration, without a server |
//! | `subject` | subjects with wildcards: which covers, which overlaps which |
//! | [`wire`] | the server's words for streams and consumers |
//! | [`change`] | one difference, and what making it costs |
//! | [`plan`] | what is to be done, in which order |
//! | [`remote`] | what a server has, and doing it there: the only IO here |
//! | [`rights`], [`acl`] | which work needs which rights; a server's account block |
//! | [`audit`] | what is likely to go wrong, from the declaration and from what a server says |
//!
//! Everything but [`load`] and [`remote`] is pure. It never deletes what a declaration does not name.

pub mod acl;
pub mod audit;
pub mod change;
pub mod load;
pub mod model;
pub mod plan;
pub mod remote;
pub mod rights;
mod subject;
pub mod validate;
pub mod wire;

pub use subject::covers;
