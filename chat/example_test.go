package chat_test

import (
	"fmt"

	"github.com/rollcall-go/rollcall/chat"
)

func ExampleKeyOf() {
	fmt.Println(chat.KeyOf("bob", chat.ToUser("ann")) == chat.KeyOf("ann", chat.ToUser("bob")))
	fmt.Println(chat.KeyOf("bob", chat.ToGroup(7)))
	// Output:
	// true
	// {7  }
}
