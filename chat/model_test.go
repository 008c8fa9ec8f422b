package chat_test

import (
	"fmt"
	"testing"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/internal/chatmodel"
	"github.com/rollcall-go/rollcall/internal/testkit"
)

// TestModel compares a server with a reference that keeps plain lists: rules P29 to P39.
func TestModel(t *testing.T) {
	steps := 300
	if !testing.Short() && !testkit.Raced {
		steps = 1000
	}
	for seed := range uint64(chatmodel.Seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { chatmodel.Run(t, chat.NewMemory(), seed, chatmodel.Steps(steps)) })
	}
}
