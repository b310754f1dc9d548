// The Kitex peers of tests/interop: a server and a client that speak TTHeader, and a client that is
// routed by xDS. Each prints one line of JSON when it is ready, and one for each call.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
)

const usage = "usage: kitex-peer server|client|xds [flags]"

func main() {
	if len(os.Args) < 2 {
		fail(fmt.Errorf("%s", usage))
	}
	commands := map[string]func([]string) error{
		"server": serve,
		"client": callDirectly,
		"xds":    callRouted,
	}
	command, known := commands[os.Args[1]]
	if !known {
		fail(fmt.Errorf("%s", usage))
	}
	if err := command(os.Args[2:]); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

var printing sync.Mutex

func say(value any) {
	line, err := json.Marshal(value)
	if err != nil {
		fail(err)
	}
	printing.Lock()
	defer printing.Unlock()
	fmt.Println(string(line))
}
