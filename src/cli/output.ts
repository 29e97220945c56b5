import type { Context } from './command.ts'
import { formatJson, printable } from './printable.ts'

/** Prints one line of the result. What strangers wrote in it cannot reach the terminal as a command. */
export function writeLine({ stdout }: Pick<Context, 'stdout'>, text: string): void {
  stdout.write(`${printable(text)}\n`)
}

/** Prints the result as one JSON document over several lines. */
export function writeJson({ stdout }: Pick<Context, 'stdout'>, value: unknown): void {
  stdout.write(`${formatJson(value, 2)}\n`)
}

/** Prints one of several results as one line of JSON. */
export function writeJsonLine({ stdout }: Pick<Context, 'stdout'>, value: unknown): void {
  stdout.write(`${formatJson(value)}\n`)
}

/** Tells something beside the result, on stderr, unless only the result or only trouble is wanted. */
export function writeNote({ stderr, quiet, jsonErrors, logLevel }: NoteContext, text: string): void {
  const wanted = logLevel === 'info' || logLevel === 'debug'
  if (wanted && !quiet && !jsonErrors) stderr.write(`${printable(text)}\n`)
}

/** Tells a warning: a note, or an event where stderr carries events. */
export function writeWarning(context: NoteContext & Pick<Context, 'json'>, message: string): void {
  const { stderr, json, jsonErrors } = context
  if (jsonErrors && !json) stderr.write(`${formatJson({ type: 'warning', message })}\n`)
  else writeNote(context, `warning: ${message}`)
}

type NoteContext = Pick<Context, 'stderr' | 'quiet' | 'jsonErrors' | 'logLevel'>
