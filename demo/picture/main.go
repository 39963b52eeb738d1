// Command picture draws a demonstration from the data that the command demo has measured.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/graceinit/graceinit/demo/record"
)

func main() {
	out := flag.String("o", "upgrade.svg", "the `file` to write")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: picture [-o FILE.svg] DATA.json")
		os.Exit(2)
	}
	r, err := record.Read(flag.Arg(0))
	if err == nil {
		err = picture(r, *out)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "picture: %v\n", err)
		os.Exit(1)
	}
}
