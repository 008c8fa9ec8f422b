package chat_test

import (
	"testing"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/chat/storetest"
)

func TestMemoryIsAStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) chat.Store { return chat.NewMemory() })
}
