//go:build unix

package postgres_test

import (
	"fmt"
	"testing"

	"github.com/rollcall-go/rollcall/chat/sqlstore/internal/pgtest"
	"github.com/rollcall-go/rollcall/internal/chatmodel"
)

// A server with this store does what a reference does that keeps plain lists: rules P29 to P39.
func TestModel(t *testing.T) {
	server := pgtest.Shared(t)
	for seed := range uint64(chatmodel.Seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			chatmodel.Run(t, open(t, server.Lend(t)), seed, chatmodel.Steps(2000))
		})
	}
}
