//go:build race

package push_test

func init() { lighter = 4 }
