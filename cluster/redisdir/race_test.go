//go:build race

package redisdir_test

func init() { lighter = 4 }
