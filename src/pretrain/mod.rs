//! Pre-training of small backbones by span corruption.
