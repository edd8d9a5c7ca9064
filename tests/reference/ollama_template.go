// What Ollama makes of a TEMPLATE, told anew from its documentation and behaviour, with Go's own text/template.
//
// Each line of stdin is {"template", "messages" | "prompt", "suffix"}; each line of stdout what the model is given, as
// a JSON string. Messages of one role in a row are joined by an empty line; a prompt with a suffix is seen without any
// message, and so without the system message.
package main

import (
	"encoding/json"
	"io"
	"os"
	"strings"
	"text/template"
)

type message struct{ Role, Content string }

type request struct {
	Template, Prompt, Suffix string
	Messages                 []message
}

func values(asked request) map[string]any {
	told := map[string]any{"Response": "", "Think": false, "ThinkLevel": "", "IsThinkSet": false}
	if asked.Prompt != "" && asked.Suffix != "" {
		told["Prompt"], told["Suffix"] = asked.Prompt, asked.Suffix
		return told
	}
	var systems []string
	var turns []*message
	for i := range asked.Messages {
		each := asked.Messages[i]
		if each.Role == "system" {
			systems = append(systems, each.Content)
		}
		if last := len(turns) - 1; last >= 0 && turns[last].Role == each.Role {
			turns[last].Content += "\n\n" + each.Content
		} else {
			turns = append(turns, &each)
		}
	}
	told["System"], told["Messages"], told["Tools"] = strings.Join(systems, "\n\n"), turns, nil
	return told
}

func main() {
	input, output := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var asked request
		if err := input.Decode(&asked); err == io.EOF {
			return
		} else if err != nil {
			panic(err)
		}
		var text strings.Builder
		parsed := template.Must(template.New("").Option("missingkey=zero").Parse(asked.Template))
		if err := parsed.Execute(&text, values(asked)); err != nil {
			panic(err)
		}
		if err := output.Encode(text.String()); err != nil {
			panic(err)
		}
	}
}
