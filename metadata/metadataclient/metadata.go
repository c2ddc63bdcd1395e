// Package metadataclient is the door to the controller: a local mirror of the
// cluster's state that follows the controller's watch, and the admin calls.
// Every other service decides from a View; a View never changes, and a later
// one never has a lower revision.
package metadataclient

import (
	"context"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/topicid"
)

// Client is a connection to metadata. Safe for concurrent use.
type Client interface {
	// View returns the newest state known here. It never is nil; before the
	// first state arrived its revision is 0 and it holds nothing.
	View() *View
	// WaitRevision returns once View has reached revision, or with ctx's error.
	WaitRevision(ctx context.Context, revision int64) error
	// Changed returns a channel that is closed when View next changes. Take the
	// channel first and the View after it, so that no change is missed.
	Changed() <-chan struct{}

	CreateTopic(ctx context.Context, req *metadatav1.CreateTopicRequest) (*metadatav1.CreateTopicResponse, error)
	AlterTopic(ctx context.Context, req *metadatav1.AlterTopicRequest) (*metadatav1.AlterTopicResponse, error)
	AddPartitions(ctx context.Context, req *metadatav1.AddPartitionsRequest) (*metadatav1.AddPartitionsResponse, error)
	DeleteTopic(ctx context.Context, req *metadatav1.DeleteTopicRequest) (*metadatav1.DeleteTopicResponse, error)
	AllocateProducerIds(ctx context.Context, req *metadatav1.AllocateProducerIdsRequest) (*metadatav1.AllocateProducerIdsResponse, error)
	RegisterNode(ctx context.Context, req *metadatav1.RegisterNodeRequest) (*metadatav1.RegisterNodeResponse, error)
	Heartbeat(ctx context.Context, req *metadatav1.HeartbeatRequest) (*metadatav1.HeartbeatResponse, error)

	AlterPartitions(ctx context.Context, req *metadatav1.AlterPartitionsRequest) (*metadatav1.AlterPartitionsResponse, error)
	ReportReplicas(ctx context.Context, req *metadatav1.ReportReplicasRequest) (*metadatav1.ReportReplicasResponse, error)
	ElectLeaders(ctx context.Context, req *metadatav1.ElectLeadersRequest) (*metadatav1.ElectLeadersResponse, error)
	AlterReassignments(ctx context.Context, req *metadatav1.AlterReassignmentsRequest) (*metadatav1.AlterReassignmentsResponse, error)
	DrainNode(ctx context.Context, req *metadatav1.DrainNodeRequest) (*metadatav1.DrainNodeResponse, error)
	RemoveNode(ctx context.Context, req *metadatav1.RemoveNodeRequest) (*metadatav1.RemoveNodeResponse, error)
	Rebalance(ctx context.Context, req *metadatav1.RebalanceRequest) (*metadatav1.RebalanceResponse, error)
	AlterClusterConfigs(ctx context.Context, req *metadatav1.AlterClusterConfigsRequest) (*metadatav1.AlterClusterConfigsResponse, error)
	UpdateFeatures(ctx context.Context, req *metadatav1.UpdateFeaturesRequest) (*metadatav1.UpdateFeaturesResponse, error)

	// Close ends the watch. The last View stays.
	Close() error
}

// View is the cluster's state at one revision. Nothing in it may be changed.
type View struct {
	ClusterID string
	Revision  int64
	// Generation grows when an operator accepts that metadata was set back
	// (C11); TermID names the controller's term.
	Generation int64
	TermID     string
	// Topics by name.
	Topics map[string]*Topic
	// TopicsByID holds the same topics.
	TopicsByID map[topicid.ID]*Topic
	// Nodes by id.
	Nodes map[int32]*Node
	// Gateways by broker id, the fenced included.
	Gateways map[int32]*Gateway
	// Coordinators by id, the fenced included.
	Coordinators map[int32]*Coordinator
	// Shards of the coordinators by index; empty before the first coordinator.
	Shards []Shard
	// Settings of the cluster.
	Settings *Settings
	// Deleted holds the incarnations whose data nodes must delete (invariant
	// 17), with the names that they had.
	Deleted map[topicid.ID]string
}

// Topic is one topic.
type Topic struct {
	ID           topicid.ID
	Name         string
	Configs      map[string]string // overrides
	Partitions   []Partition
	CreateTimeMs int64
	Version      int64
}

// Partition is one partition of a topic.
type Partition struct {
	Leader         int32 // -1 where none leads
	LeaderEpoch    int32
	PartitionEpoch int32
	Replicas       []int32
	ISR            []int32
	ELR            []int32 // eligible to lead though not in sync (R10)
	LastKnownELR   []int32
	MinISR         int32 // min.insync.replicas as of this partition epoch (R11)
	Adding         []int32
	Removing       []int32
	Recovering     bool // its leader was chosen with loss (R13)
}

// Node is one storage node.
type Node struct {
	ID         int32
	Epoch      int64
	Address    string
	Rack       string
	Fenced     bool
	Draining   bool // is shutting down
	Evacuating bool // an operator wants all replicas off it
}

// Gateway is one gateway: a broker, as Kafka's clients see it.
type Gateway struct {
	BrokerID     int32
	Epoch        int64
	KafkaAddress string
	GRPCAddress  string
	Rack         string
	LocalNodes   []int32 // storage nodes in its own process
	Fenced       bool
}

// Coordinator is one coordinator.
type Coordinator struct {
	ID          int32
	Incarnation string
	Address     string
	Fenced      bool
}

// Shard is one shard of the coordinators.
type Shard struct {
	Owner int32 // -1 where none owns it
	Epoch int64 // grows with each change of owner
}

// Settings are the settings of the cluster by Kafka's names of broker configs,
// and its feature levels.
type Settings struct {
	Configs  map[string]string           // of the whole cluster
	Brokers  map[int32]map[string]string // of single brokers
	Features map[string]int32
}
