// Package testkit has helpers that tests of several packages share.
//
//	e := testkit.Must(engine.New(cfg))
package testkit

// Must returns v, and panics with err if there is one: for what cannot fail where a test calls it.
func Must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
