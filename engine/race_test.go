//go:build race

package engine_test

func init() { lighter = 4 }
