package transport

import "github.com/prometheus/client_golang/prometheus"

// nativeHistogram makes a histogram's buckets grow by 1.1, without fixed ones.
func nativeHistogram() *prometheus.HistogramOpts {
	return &prometheus.HistogramOpts{
		NativeHistogramBucketFactor:    1.1,
		NativeHistogramMaxBucketNumber: 160,
	}
}
