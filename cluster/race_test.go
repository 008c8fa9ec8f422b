//go:build race

package cluster_test

func init() { lighter = 8 }
