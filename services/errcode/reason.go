package errcode

import (
	"net/http"
	"strings"

	"google.golang.org/grpc/codes"
)

// Reason says what went wrong, in one word that a program can switch on. The
// values are the names of moldau.v1.ErrorReason without their prefix, and they
// are what ErrorInfo carries.
type Reason string

// The reasons. Their faces are in the table below, in the same order.
const (
	Internal           Reason = "INTERNAL"
	InvalidArgument    Reason = "INVALID_ARGUMENT"
	Unauthenticated    Reason = "UNAUTHENTICATED"
	PermissionDenied   Reason = "PERMISSION_DENIED"
	ResourceExhausted  Reason = "RESOURCE_EXHAUSTED"
	RequestTimedOut    Reason = "REQUEST_TIMED_OUT"
	Canceled           Reason = "CANCELED"
	Unimplemented      Reason = "UNIMPLEMENTED"
	ShuttingDown       Reason = "SHUTTING_DOWN"
	UnknownTopic       Reason = "UNKNOWN_TOPIC"
	UnknownTopicID     Reason = "UNKNOWN_TOPIC_ID"
	InconsistentTopic  Reason = "INCONSISTENT_TOPIC_ID"
	UnknownPartition   Reason = "UNKNOWN_PARTITION"
	TopicAlreadyExists Reason = "TOPIC_ALREADY_EXISTS"
	InvalidTopicName   Reason = "INVALID_TOPIC_NAME"
	InvalidPartitions  Reason = "INVALID_PARTITIONS"

	InvalidReplicationFactor Reason = "INVALID_REPLICATION_FACTOR"
	InvalidReplicaAssignment Reason = "INVALID_REPLICA_ASSIGNMENT"
	InvalidConfig            Reason = "INVALID_CONFIG"
	PolicyViolation          Reason = "POLICY_VIOLATION"

	OffsetOutOfRange   Reason = "OFFSET_OUT_OF_RANGE"
	OffsetNotAvailable Reason = "OFFSET_NOT_AVAILABLE"
	NotLeader          Reason = "NOT_LEADER"
	FencedLeaderEpoch  Reason = "FENCED_LEADER_EPOCH"
	UnknownLeaderEpoch Reason = "UNKNOWN_LEADER_EPOCH"

	NotEnoughReplicas            Reason = "NOT_ENOUGH_REPLICAS"
	NotEnoughReplicasAfterAppend Reason = "NOT_ENOUGH_REPLICAS_AFTER_APPEND"
	InvalidAcks                  Reason = "INVALID_ACKS"
	CorruptRecord                Reason = "CORRUPT_RECORD"
	InvalidRecord                Reason = "INVALID_RECORD"
	RecordTooLarge               Reason = "RECORD_TOO_LARGE"
	BatchTooLarge                Reason = "BATCH_TOO_LARGE"
	UnsupportedCompression       Reason = "UNSUPPORTED_COMPRESSION"
	InvalidTimestamp             Reason = "INVALID_TIMESTAMP"
	OutOfOrderSequence           Reason = "OUT_OF_ORDER_SEQUENCE"
	InvalidProducerEpoch         Reason = "INVALID_PRODUCER_EPOCH"
	UnknownProducer              Reason = "UNKNOWN_PRODUCER"
	OffsetMismatch               Reason = "OFFSET_MISMATCH"

	StorageError          Reason = "STORAGE_ERROR"
	DiskFull              Reason = "DISK_FULL"
	DataCorrupted         Reason = "DATA_CORRUPTED"
	NodeUnavailable       Reason = "NODE_UNAVAILABLE"
	NotController         Reason = "NOT_CONTROLLER"
	ControllerUnavailable Reason = "CONTROLLER_UNAVAILABLE"
	StaleRevision         Reason = "STALE_REVISION"
	MetadataRegressed     Reason = "METADATA_REGRESSED"

	CoordinatorLoading         Reason = "COORDINATOR_LOADING"
	CoordinatorUnavailable     Reason = "COORDINATOR_UNAVAILABLE"
	NotCoordinator             Reason = "NOT_COORDINATOR"
	InvalidGroupID             Reason = "INVALID_GROUP_ID"
	UnknownGroup               Reason = "UNKNOWN_GROUP"
	UnknownMember              Reason = "UNKNOWN_MEMBER"
	IllegalGeneration          Reason = "ILLEGAL_GENERATION"
	InconsistentGroupProtocol  Reason = "INCONSISTENT_GROUP_PROTOCOL"
	InvalidSessionTimeout      Reason = "INVALID_SESSION_TIMEOUT"
	RebalanceInProgress        Reason = "REBALANCE_IN_PROGRESS"
	OffsetMetadataTooLarge     Reason = "OFFSET_METADATA_TOO_LARGE"
	MemberIDRequired           Reason = "MEMBER_ID_REQUIRED"
	FencedInstance             Reason = "FENCED_INSTANCE"
	UnreleasedInstance         Reason = "UNRELEASED_INSTANCE"
	FencedMemberEpoch          Reason = "FENCED_MEMBER_EPOCH"
	StaleMemberEpoch           Reason = "STALE_MEMBER_EPOCH"
	UnsupportedAssignor        Reason = "UNSUPPORTED_ASSIGNOR"
	InvalidRegularExpression   Reason = "INVALID_REGULAR_EXPRESSION"
	GroupNotEmpty              Reason = "GROUP_NOT_EMPTY"
	GroupSubscribed            Reason = "GROUP_SUBSCRIBED"
	GroupFull                  Reason = "GROUP_FULL"
	UnstableOffset             Reason = "UNSTABLE_OFFSET"
	DuplicateGroupMember       Reason = "DUPLICATE_GROUP_MEMBER"
	InvalidTransactionState    Reason = "INVALID_TRANSACTION_STATE"
	InvalidProducerMapping     Reason = "INVALID_PRODUCER_MAPPING"
	InvalidTransactionTimeout  Reason = "INVALID_TRANSACTION_TIMEOUT"
	ConcurrentTransactions     Reason = "CONCURRENT_TRANSACTIONS"
	CoordinatorFenced          Reason = "COORDINATOR_FENCED"
	UnknownTransaction         Reason = "UNKNOWN_TRANSACTION"
	ProducerFenced             Reason = "PRODUCER_FENCED"
	TransactionAbortable       Reason = "TRANSACTION_ABORTABLE"
	IneligibleReplica          Reason = "INELIGIBLE_REPLICA"
	InvalidUpdateVersion       Reason = "INVALID_UPDATE_VERSION"
	PreferredLeaderUnavailable Reason = "PREFERRED_LEADER_UNAVAILABLE"
	EligibleLeadersUnavailable Reason = "ELIGIBLE_LEADERS_UNAVAILABLE"
	ElectionNotNeeded          Reason = "ELECTION_NOT_NEEDED"
	NoReassignment             Reason = "NO_REASSIGNMENT"
	UnknownNode                Reason = "UNKNOWN_NODE"
	StaleNodeEpoch             Reason = "STALE_NODE_EPOCH"
	FeatureUpdateFailed        Reason = "FEATURE_UPDATE_FAILED"
	InvalidToken               Reason = "INVALID_TOKEN"
	StreamTakenOver            Reason = "STREAM_TAKEN_OVER"
)

// Faces are how one reason looks to each kind of caller.
type Faces struct {
	Reason    Reason
	GRPC      codes.Code
	HTTP      int
	Kafka     int16  // Kafka's protocol error code
	KafkaName string // its name in Kafka's own table
	Retryable bool   // the same request may succeed later or, after a metadata refresh, elsewhere
	Hint      string // what the caller can do, when the error itself says nothing better
}

const (
	yes = true
	no  = false

	statusClientClosedRequest = 499 // nginx's convention; net/http has no name
)

// table is THE error table: every face of every reason.
var table = []Faces{
	{Internal, codes.Internal, http.StatusInternalServerError, -1, "UNKNOWN_SERVER_ERROR", no, "This is a fault of the server; its log has the details."},
	{InvalidArgument, codes.InvalidArgument, http.StatusBadRequest, 42, "INVALID_REQUEST", no, "Correct the request."},
	{Unauthenticated, codes.Unauthenticated, http.StatusUnauthorized, 58, "SASL_AUTHENTICATION_FAILED", no, "Send valid credentials."},
	{PermissionDenied, codes.PermissionDenied, http.StatusForbidden, 29, "TOPIC_AUTHORIZATION_FAILED", no, "Ask an administrator for an ACL that allows this."},
	{ResourceExhausted, codes.ResourceExhausted, http.StatusTooManyRequests, 89, "THROTTLING_QUOTA_EXCEEDED", yes, "Slow down, then retry."},
	{RequestTimedOut, codes.DeadlineExceeded, http.StatusGatewayTimeout, 7, "REQUEST_TIMED_OUT", yes, "A write may have taken effect: retry it only with idempotence."},
	{Canceled, codes.Canceled, statusClientClosedRequest, 7, "REQUEST_TIMED_OUT", no, "The caller gave up."},
	{Unimplemented, codes.Unimplemented, http.StatusNotImplemented, 35, "UNSUPPORTED_VERSION", no, "The server is older than the caller, or does not offer this."},
	{ShuttingDown, codes.Unavailable, http.StatusServiceUnavailable, 6, "NOT_LEADER_FOR_PARTITION", yes, "Refresh metadata and ask another instance."},
	{UnknownTopic, codes.NotFound, http.StatusNotFound, 3, "UNKNOWN_TOPIC_OR_PARTITION", no, "Create the topic, or check its name."},
	{UnknownTopicID, codes.NotFound, http.StatusNotFound, 100, "UNKNOWN_TOPIC_ID", yes, "Refresh metadata; the topic may be new here, or gone."},
	{InconsistentTopic, codes.FailedPrecondition, http.StatusConflict, 103, "INCONSISTENT_TOPIC_ID", yes, "Refresh metadata: the topic was deleted and created again."},
	{UnknownPartition, codes.NotFound, http.StatusNotFound, 3, "UNKNOWN_TOPIC_OR_PARTITION", no, "Describe the topic to see its partitions."},
	{TopicAlreadyExists, codes.AlreadyExists, http.StatusConflict, 36, "TOPIC_ALREADY_EXISTS", no, "Choose another name, or use the topic that exists."},
	{InvalidTopicName, codes.InvalidArgument, http.StatusBadRequest, 17, "INVALID_TOPIC_EXCEPTION", no, "Use 1 to 249 of a-z A-Z 0-9 . _ - and neither \".\" nor \"..\"."},
	{InvalidPartitions, codes.InvalidArgument, http.StatusBadRequest, 37, "INVALID_PARTITIONS", no, "Ask for at least one partition, and never for fewer than there are."},
	{InvalidReplicationFactor, codes.InvalidArgument, http.StatusBadRequest, 38, "INVALID_REPLICATION_FACTOR", no, "Use a factor between 1 and the number of storage nodes."},
	{InvalidReplicaAssignment, codes.InvalidArgument, http.StatusBadRequest, 39, "INVALID_REPLICA_ASSIGNMENT", no, "Name distinct, registered nodes, equally many for each partition."},
	{InvalidConfig, codes.InvalidArgument, http.StatusBadRequest, 40, "INVALID_CONFIG", no, "Describe the configs to see names and legal values."},
	{PolicyViolation, codes.FailedPrecondition, http.StatusConflict, 44, "POLICY_VIOLATION", no, "The policy of the topic or cluster forbids this."},
	{OffsetOutOfRange, codes.OutOfRange, http.StatusRequestedRangeNotSatisfiable, 1, "OFFSET_OUT_OF_RANGE", no, "Start from the earliest or the latest offset."},
	{OffsetNotAvailable, codes.Unavailable, http.StatusServiceUnavailable, 78, "OFFSET_NOT_AVAILABLE", yes, "Retry: the new leader has not learnt the high watermark yet."},
	{NotLeader, codes.Unavailable, http.StatusServiceUnavailable, 6, "NOT_LEADER_FOR_PARTITION", yes, "Refresh metadata and ask the leader."},
	{FencedLeaderEpoch, codes.FailedPrecondition, http.StatusConflict, 74, "FENCED_LEADER_EPOCH", yes, "Refresh metadata: the partition has a newer leader."},
	{UnknownLeaderEpoch, codes.Unavailable, http.StatusServiceUnavailable, 75, "UNKNOWN_LEADER_EPOCH", yes, "Retry: the node has not heard of the new leader yet."},
	{NotEnoughReplicas, codes.Unavailable, http.StatusServiceUnavailable, 19, "NOT_ENOUGH_REPLICAS", yes, "Nothing was appended; retry when more replicas are in sync."},
	{NotEnoughReplicasAfterAppend, codes.Unavailable, http.StatusServiceUnavailable, 20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", yes, "The records are in the log: retry only with idempotence."},
	{InvalidAcks, codes.InvalidArgument, http.StatusBadRequest, 21, "INVALID_REQUIRED_ACKS", no, "Use acks of 0, 1 or all."},
	{CorruptRecord, codes.InvalidArgument, http.StatusBadRequest, 2, "CORRUPT_MESSAGE", yes, "The bytes were damaged on their way; send them again."},
	{InvalidRecord, codes.InvalidArgument, http.StatusBadRequest, 87, "INVALID_RECORD", no, "Correct the record that the metadata names."},
	{RecordTooLarge, codes.InvalidArgument, http.StatusRequestEntityTooLarge, 10, "MESSAGE_TOO_LARGE", no, "Send smaller batches, or raise max.message.bytes."},
	{BatchTooLarge, codes.InvalidArgument, http.StatusRequestEntityTooLarge, 18, "RECORD_LIST_TOO_LARGE", no, "Send smaller batches, or raise segment.bytes."},
	{UnsupportedCompression, codes.InvalidArgument, http.StatusBadRequest, 76, "UNSUPPORTED_COMPRESSION_TYPE", no, "Use none, gzip, snappy, lz4 or zstd."},
	{InvalidTimestamp, codes.InvalidArgument, http.StatusBadRequest, 32, "INVALID_TIMESTAMP", no, "Keep timestamps within the topic's bounds."},
	{OutOfOrderSequence, codes.FailedPrecondition, http.StatusConflict, 45, "OUT_OF_ORDER_SEQUENCE_NUMBER", no, "An earlier batch is missing; the producer must resend or start anew."},
	{InvalidProducerEpoch, codes.FailedPrecondition, http.StatusConflict, 47, "INVALID_PRODUCER_EPOCH", no, "A newer incarnation of this producer exists; stop this one."},
	{UnknownProducer, codes.FailedPrecondition, http.StatusConflict, 59, "UNKNOWN_PRODUCER_ID", no, "Ask for a new producer id or epoch."},
	{OffsetMismatch, codes.Aborted, http.StatusPreconditionFailed, 42, "INVALID_REQUEST", no, "Read up to the log's end, decide again, then append."},
	{StorageError, codes.Unavailable, http.StatusServiceUnavailable, 56, "KAFKA_STORAGE_ERROR", yes, "Refresh metadata; another replica takes over."},
	{DiskFull, codes.ResourceExhausted, http.StatusInsufficientStorage, 56, "KAFKA_STORAGE_ERROR", yes, "Free space, or lower the retention."},
	{DataCorrupted, codes.DataLoss, http.StatusInternalServerError, 2, "CORRUPT_MESSAGE", no, "The stored bytes are damaged; an operator must restore the replica."},
	{NodeUnavailable, codes.Unavailable, http.StatusServiceUnavailable, 5, "LEADER_NOT_AVAILABLE", yes, "Refresh metadata and retry."},
	{NotController, codes.Unavailable, http.StatusServiceUnavailable, 41, "NOT_CONTROLLER", yes, "Ask the active controller."},
	{ControllerUnavailable, codes.Unavailable, http.StatusServiceUnavailable, 41, "NOT_CONTROLLER", yes, "Retry when a controller is elected."},
	{StaleRevision, codes.Unavailable, http.StatusServiceUnavailable, 7, "REQUEST_TIMED_OUT", yes, "Retry: this instance lags behind the revision you saw."},
	{MetadataRegressed, codes.FailedPrecondition, http.StatusInternalServerError, -1, "UNKNOWN_SERVER_ERROR", no, "An operator must restore the metadata store."},
	{CoordinatorLoading, codes.Unavailable, http.StatusServiceUnavailable, 14, "COORDINATOR_LOAD_IN_PROGRESS", yes, "Retry: the coordinator is reading its journal."},
	{CoordinatorUnavailable, codes.Unavailable, http.StatusServiceUnavailable, 15, "COORDINATOR_NOT_AVAILABLE", yes, "Retry when a coordinator is there."},
	{NotCoordinator, codes.Unavailable, http.StatusServiceUnavailable, 16, "NOT_COORDINATOR", yes, "Refresh metadata and ask the coordinator."},
	{InvalidGroupID, codes.InvalidArgument, http.StatusBadRequest, 24, "INVALID_GROUP_ID", no, "Use a group id that is not empty."},
	{UnknownGroup, codes.NotFound, http.StatusNotFound, 69, "GROUP_ID_NOT_FOUND", no, "Check the group's name; a group exists while it has members or offsets."},
	{UnknownMember, codes.FailedPrecondition, http.StatusConflict, 25, "UNKNOWN_MEMBER_ID", no, "Join the group again."},
	{IllegalGeneration, codes.FailedPrecondition, http.StatusConflict, 22, "ILLEGAL_GENERATION", no, "Join the group again."},
	{InconsistentGroupProtocol, codes.FailedPrecondition, http.StatusConflict, 23, "INCONSISTENT_GROUP_PROTOCOL", no, "Use a protocol that all members know."},
	{InvalidSessionTimeout, codes.InvalidArgument, http.StatusBadRequest, 26, "INVALID_SESSION_TIMEOUT", no, "Use a session timeout between the server's least and most."},
	{RebalanceInProgress, codes.Unavailable, http.StatusServiceUnavailable, 27, "REBALANCE_IN_PROGRESS", yes, "Join the group again."},
	{OffsetMetadataTooLarge, codes.InvalidArgument, http.StatusBadRequest, 12, "OFFSET_METADATA_TOO_LARGE", no, "Keep the metadata of an offset below 4,096 bytes."},
	{MemberIDRequired, codes.FailedPrecondition, http.StatusConflict, 79, "MEMBER_ID_REQUIRED", yes, "Join again with the member id of the answer."},
	{FencedInstance, codes.FailedPrecondition, http.StatusConflict, 82, "FENCED_INSTANCE_ID", no, "Another member uses this instance id; stop this one."},
	{UnreleasedInstance, codes.FailedPrecondition, http.StatusConflict, 111, "UNRELEASED_INSTANCE_ID", yes, "Retry when the member that uses the instance id has left."},
	{FencedMemberEpoch, codes.FailedPrecondition, http.StatusConflict, 110, "FENCED_MEMBER_EPOCH", no, "Give up all partitions and join again with epoch 0."},
	{StaleMemberEpoch, codes.FailedPrecondition, http.StatusConflict, 113, "STALE_MEMBER_EPOCH", yes, "Heartbeat, then retry with the new epoch."},
	{UnsupportedAssignor, codes.InvalidArgument, http.StatusBadRequest, 112, "UNSUPPORTED_ASSIGNOR", no, "Use uniform or range."},
	{InvalidRegularExpression, codes.InvalidArgument, http.StatusBadRequest, 128, "INVALID_REGULAR_EXPRESSION", no, "Correct the expression; its syntax is RE2's."},
	{GroupNotEmpty, codes.FailedPrecondition, http.StatusConflict, 68, "NON_EMPTY_GROUP", no, "Stop the group's members first."},
	{GroupSubscribed, codes.FailedPrecondition, http.StatusConflict, 86, "GROUP_SUBSCRIBED_TO_TOPIC", no, "Stop the members that subscribe to the topic first."},
	{GroupFull, codes.ResourceExhausted, http.StatusTooManyRequests, 81, "GROUP_MAX_SIZE_REACHED", no, "Raise group.max.size, or use fewer members."},
	{UnstableOffset, codes.Unavailable, http.StatusServiceUnavailable, 88, "UNSTABLE_OFFSET_COMMIT", yes, "Retry when the transaction that holds the offset has ended."},
	{DuplicateGroupMember, codes.FailedPrecondition, http.StatusConflict, 22, "ILLEGAL_GENERATION", no, "Join the group with another member id."},
	{InvalidTransactionState, codes.FailedPrecondition, http.StatusConflict, 48, "INVALID_TXN_STATE", no, "Begin a transaction first, or look up how this one ended."},
	{InvalidProducerMapping, codes.FailedPrecondition, http.StatusConflict, 49, "INVALID_PRODUCER_ID_MAPPING", no, "Initialize the producer again."},
	{InvalidTransactionTimeout, codes.InvalidArgument, http.StatusBadRequest, 50, "INVALID_TRANSACTION_TIMEOUT", no, "Use a timeout between 1 ms and transaction.max.timeout.ms."},
	{ConcurrentTransactions, codes.Unavailable, http.StatusServiceUnavailable, 51, "CONCURRENT_TRANSACTIONS", yes, "Retry: the transaction before is still completing."},
	{CoordinatorFenced, codes.FailedPrecondition, http.StatusConflict, 52, "TRANSACTION_COORDINATOR_FENCED", no, "A newer coordinator owns the shard."},
	{UnknownTransaction, codes.NotFound, http.StatusNotFound, 105, "TRANSACTIONAL_ID_NOT_FOUND", no, "Check the transactional id."},
	{ProducerFenced, codes.FailedPrecondition, http.StatusConflict, 90, "PRODUCER_FENCED", no, "A newer producer uses this transactional id; stop this one."},
	{TransactionAbortable, codes.Aborted, http.StatusConflict, 120, "TRANSACTION_ABORTABLE", no, "Abort the transaction, then begin it again."},
	{IneligibleReplica, codes.FailedPrecondition, http.StatusConflict, 107, "INELIGIBLE_REPLICA", yes, "Retry when the replica is in service."},
	{InvalidUpdateVersion, codes.Aborted, http.StatusConflict, 95, "INVALID_UPDATE_VERSION", yes, "Read the newest state, decide again, then retry."},
	{PreferredLeaderUnavailable, codes.Unavailable, http.StatusServiceUnavailable, 80, "PREFERRED_LEADER_NOT_AVAILABLE", yes, "Retry when the preferred leader is in sync."},
	{EligibleLeadersUnavailable, codes.Unavailable, http.StatusServiceUnavailable, 83, "ELIGIBLE_LEADERS_NOT_AVAILABLE", yes, "Start a replica that was in sync, or elect one with loss."},
	{ElectionNotNeeded, codes.FailedPrecondition, http.StatusConflict, 84, "ELECTION_NOT_NEEDED", no, "Nothing is to be done."},
	{NoReassignment, codes.FailedPrecondition, http.StatusConflict, 85, "NO_REASSIGNMENT_IN_PROGRESS", no, "Nothing is to be cancelled."},
	{UnknownNode, codes.NotFound, http.StatusNotFound, 102, "BROKER_ID_NOT_REGISTERED", no, "List the nodes to see their ids."},
	{StaleNodeEpoch, codes.FailedPrecondition, http.StatusConflict, 77, "STALE_BROKER_EPOCH", no, "Register the node again."},
	{FeatureUpdateFailed, codes.FailedPrecondition, http.StatusConflict, 96, "FEATURE_UPDATE_FAILED", no, "Use a level that all services support."},
	{InvalidToken, codes.InvalidArgument, http.StatusBadRequest, 42, "INVALID_REQUEST", no, "Use a token as it was given, with the same group or request."},
	{StreamTakenOver, codes.FailedPrecondition, http.StatusConflict, 110, "FENCED_MEMBER_EPOCH", no, "Another stream goes on as the member; stop this one."},
}

var byReason = func() map[Reason]*Faces {
	m := make(map[Reason]*Faces, len(table))
	for i := range table {
		m[table[i].Reason] = &table[i]
	}
	return m
}()

// Table returns a copy of the table, for documentation and tests.
func Table() []Faces { return append([]Faces(nil), table...) }

// Faces returns the row of r; that of Internal if r is not in the table.
func (r Reason) Faces() Faces {
	if f, ok := byReason[r]; ok {
		return *f
	}
	return table[0]
}

// GRPC returns the gRPC code of r.
func (r Reason) GRPC() codes.Code { return r.Faces().GRPC }

// HTTP returns the HTTP status of r.
func (r Reason) HTTP() int { return r.Faces().HTTP }

// Kafka returns the Kafka protocol error code of r.
func (r Reason) Kafka() int16 { return r.Faces().Kafka }

// Retryable reports whether the same request may succeed later or elsewhere.
func (r Reason) Retryable() bool { return r.Faces().Retryable }

// ParseReason finds the reason of that name, with or without the prefix of
// the proto enum.
func ParseReason(name string) (Reason, bool) {
	r := Reason(strings.TrimPrefix(name, "ERROR_REASON_"))
	_, ok := byReason[r]
	return r, ok
}
