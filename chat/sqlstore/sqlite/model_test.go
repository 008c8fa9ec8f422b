package sqlite_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/rollcall-go/rollcall/internal/chatmodel"
)

// A server with this store does what a reference does that keeps plain lists: rules P29 to P39.
func TestModel(t *testing.T) {
	for seed := range uint64(chatmodel.Seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			chatmodel.Run(t, open(t, filepath.Join(t.TempDir(), "chat.db")), seed, chatmodel.Steps(2000))
		})
	}
}
