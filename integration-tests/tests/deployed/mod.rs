//! What `deploy/` and `docker/` give people: the image, the whole stack, and what Prometheus makes of
//! both halves.

mod image;
mod draft;
mod compose;
mod monitoring;
