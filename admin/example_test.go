package admin_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/rollcall-go/rollcall/admin"
	"github.com/rollcall-go/rollcall/usermgr"
)

func Example() {
	users, err := usermgr.New(usermgr.Config{})
	if err != nil {
		panic(err)
	}
	defer users.Close(context.Background())
	pages, err := admin.New(admin.Config{Users: users, Authorize: admin.Basic("olga", "secret", admin.View)})
	if err != nil {
		panic(err)
	}
	defer pages.Close()
	mux := http.NewServeMux()
	mux.Handle("/admin/", http.StripPrefix("/admin", pages))
	server := httptest.NewServer(mux)
	defer server.Close()

	request, err := http.NewRequest("GET", server.URL+"/admin/api/v1/user?id=bob", nil)
	if err != nil {
		panic(err)
	}
	request.SetBasicAuth("olga", "secret")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		panic(err)
	}
	defer answer.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	text, _ := io.ReadAll(answer.Body)
	fmt.Println(answer.Status)
	fmt.Println(string(text[:29]))
	// Output:
	// 200 OK
	// {"user":"bob","online":false,
}
