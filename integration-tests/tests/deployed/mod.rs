//! What `deploy/` and `docker/` give people: the image, and what Prometheus makes of both halves.

mod image;
mod monitoring;
