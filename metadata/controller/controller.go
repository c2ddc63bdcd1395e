package controller

import "time"

type Config struct {
	FenceTimeout             time.Duration
	AckTimeout               time.Duration
	NumPartitions            int32
	DefaultReplicationFactor int32
}
