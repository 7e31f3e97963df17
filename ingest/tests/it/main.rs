//! Landing and running in a lake in a local directory, with the repository's own declarations and
//! queries.

mod golden;
mod landing;
mod replay;
mod script;
mod world;
