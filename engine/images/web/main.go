// Web is the sample site: it says hello, and which pod answered whom.
//
// A browser gets a page, curl gets lines, and `Accept: application/json` gets JSON. It listens on ports 80 and 8080, or on
// those in $PORT. $TITLE changes the greeting; $POD_NAME, $POD_IP and $NODE_NAME are shown if the downward API sets them.
package main

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
)

//go:embed page.html
var source string

var page = template.Must(template.New("page").Parse(source))

// A fact is one line of what the page shows.
type fact struct {
	Name, Label, Value string
}

func facts(request *http.Request) []fact {
	host, _ := os.Hostname()
	client, _, _ := net.SplitHostPort(request.RemoteAddr)
	own := ""
	if address, known := request.Context().Value(http.LocalAddrContextKey).(net.Addr); known {
		own, _, _ = net.SplitHostPort(address.String())
	}
	all := []fact{
		{"pod", "Pod", cmp.Or(os.Getenv("POD_NAME"), host)},
		{"podIP", "Pod address", cmp.Or(os.Getenv("POD_IP"), own)},
		{"node", "Node", os.Getenv("NODE_NAME")},
		{"client", "Your address", client},
		{"forwardedFor", "Forwarded for", request.Header.Get("X-Forwarded-For")},
		{"host", "You asked for", request.Host + request.URL.Path},
	}
	var known []fact
	for _, one := range all {
		if one.Value != "" {
			known = append(known, one)
		}
	}
	return known
}

func hello(response http.ResponseWriter, request *http.Request) {
	title := cmp.Or(os.Getenv("TITLE"), "Hello from your own cluster")
	accept := request.Header.Get("Accept")
	response.Header().Set("Cache-Control", "no-store")
	switch {
	case strings.Contains(accept, "text/html"):
		response.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = page.Execute(response, map[string]any{"Title": title, "Facts": facts(request)})
	case strings.Contains(accept, "application/json"):
		response.Header().Set("Content-Type", "application/json")
		values := map[string]string{"title": title}
		for _, one := range facts(request) {
			values[one.Name] = one.Value
		}
		_ = json.NewEncoder(response).Encode(values)
	default:
		response.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintln(response, title)
		for _, one := range facts(request) {
			fmt.Fprintf(response, "%s: %s\n", one.Name, one.Value)
		}
	}
	log.Printf("%s %s %s", request.RemoteAddr, request.Method, request.URL.Path)
}

func main() {
	log.SetFlags(log.LstdFlags | log.LUTC)
	mux := http.NewServeMux()
	mux.HandleFunc("/", hello)
	mux.HandleFunc("/healthz", func(response http.ResponseWriter, _ *http.Request) { fmt.Fprintln(response, "ok") })
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}

	stop, done := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer done()
	var serving sync.WaitGroup
	listening := 0
	for _, port := range strings.Fields(cmp.Or(os.Getenv("PORT"), "80 8080")) {
		listener, err := net.Listen("tcp", ":"+port)
		if err != nil {
			log.Print(err) // port 80 may be refused to a user that is not root; the other one will do
			continue
		}
		listening++
		log.Printf("listening on %s", listener.Addr())
		serving.Go(func() { _ = server.Serve(listener) })
	}
	if listening == 0 {
		log.Fatal("no port to listen on")
	}
	<-stop.Done()
	// What has begun is answered: a rolling update loses no request.
	closing, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_ = server.Shutdown(closing)
	serving.Wait()
}
