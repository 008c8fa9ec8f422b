//go:build tools

// Package tools pins the programs that the Makefile runs, in a module of its own, so that none of them enters the main
// go.mod.
package tools

import _ "honnef.co/go/tools/cmd/staticcheck"
