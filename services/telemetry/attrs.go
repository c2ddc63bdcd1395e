package telemetry

import (
	"log/slog"
	"time"
)

// One function for each log key: a key is spelled here and nowhere else.

// Err is the error a line is about.
func Err(err error) slog.Attr { return slog.Any("err", err) }

// Role is the role of a process: gateway, coordinator, storage-node, metadata.
func Role(name string) slog.Attr { return slog.String("role", name) }

// Part is a part of a process.
func Part(name string) slog.Attr { return slog.String("part", name) }

// NodeID is the id of a storage node.
func NodeID(id int32) slog.Attr { return slog.Int64("node_id", int64(id)) }

// Leader is the node that leads a partition.
func Leader(id int32) slog.Attr { return slog.Int64("leader", int64(id)) }

// Topic is a topic's name.
func Topic(name string) slog.Attr { return slog.String("topic", name) }

// TopicID is a topic's id in its text form.
func TopicID(id string) slog.Attr { return slog.String("topic_id", id) }

// Partition is a partition's index in its topic.
func Partition(index int32) slog.Attr { return slog.Int64("partition", int64(index)) }

// Offset is an offset in a partition.
func Offset(o int64) slog.Attr { return slog.Int64("offset", o) }

// HighWatermark is the offset below which everything is replicated.
func HighWatermark(o int64) slog.Attr { return slog.Int64("high_watermark", o) }

// LeaderEpoch is the epoch of a partition's leader.
func LeaderEpoch(e int32) slog.Attr { return slog.Int64("leader_epoch", int64(e)) }

// Revision is a metadata revision.
func Revision(r uint64) slog.Attr { return slog.Uint64("revision", r) }

// ProducerID is an idempotent or transactional producer's id.
func ProducerID(id int64) slog.Attr { return slog.Int64("producer_id", id) }

// ProducerEpoch is the epoch of a producer id.
func ProducerEpoch(e int16) slog.Attr { return slog.Int64("producer_epoch", int64(e)) }

// Group is a consumer group's id.
func Group(id string) slog.Attr { return slog.String("group", id) }

// Generation is a group's generation.
func Generation(g int32) slog.Attr { return slog.Int64("generation", int64(g)) }

// Member is a group member's id.
func Member(id string) slog.Attr { return slog.String("member", id) }

// TransactionalID is a transactional id.
func TransactionalID(id string) slog.Attr { return slog.String("transactional_id", id) }

// Principal is who calls.
func Principal(name string) slog.Attr { return slog.String("principal", name) }

// Peer is the address at the other end.
func Peer(addr string) slog.Attr { return slog.String("peer", addr) }

// Addr is an address that this process listens on.
func Addr(addr string) slog.Attr { return slog.String("addr", addr) }

// Path is a file's path.
func Path(p string) slog.Attr { return slog.String("path", p) }

// SizeBytes is a size in bytes.
func SizeBytes(n int64) slog.Attr { return slog.Int64("size_bytes", n) }

// Took is how long something took.
func Took(d time.Duration) slog.Attr { return slog.Duration("took", d) }
