import { styleText } from 'node:util'
import type { PullEvent } from '../../copy/events.ts'
import type { Context, LogLevel, Output, Progress, ProgressMode } from '../command.ts'
import { formatJson, printable } from '../printable.ts'
import type { Screen } from './frame.ts'
import { newPlainView } from './plain.ts'
import { isTrouble } from './trouble.ts'
import { newTtyView } from './tty.ts'
import type { View } from './view.ts'

const tickMs = 100

/** Shows progress on a stream until it is disposed of. */
export function openProgress(
  name: string,
  { mode, stream, env, logLevel }: { mode: ProgressMode; stream: Output; env: Context['env']; logLevel: LogLevel },
): Progress {
  const view = newView(name, mode, stream, env)
  const isWanted = (event: PullEvent) =>
    !(event.type === 'warning' || isTrouble(event)) || logLevel !== 'error' || mode === 'json'
  const show = (text: string) => {
    if (text !== '') stream.write(text)
  }
  const timer = setInterval(() => show(view.tick(performance.now())), tickMs)
  return {
    handle: event => {
      if (isWanted(event)) show(view.handle(event, performance.now()))
    },
    aside: write => {
      show(view.clear())
      write()
    },
    [Symbol.dispose]: () => {
      clearInterval(timer)
      show(view.close(performance.now()))
    },
  }
}

function newView(name: string, mode: ProgressMode, stream: Output, env: Context['env']): View {
  const now = performance.now()
  if (mode === 'tty') return newTtyView(name, () => readScreen(stream, env), now)
  if (mode === 'plain') return newPlainView(name, now)
  const silent = { tick: () => '', clear: () => '', close: () => '' }
  if (mode === 'json') return { ...silent, handle: event => `${formatJson(event)}\n` }
  // Without progress, warnings are still said: they are about the result.
  return {
    ...silent,
    handle: event => (event.type === 'warning' ? `warning: ${printable(event.message)}\n` : ''),
  }
}

function readScreen(stream: Output, env: Context['env']): Screen {
  const colour = (stream.isTTY ?? false) && !env['NO_COLOR'] && env['TERM'] !== 'dumb'
  const locale = env['LC_ALL'] || env['LC_CTYPE'] || env['LANG'] || ''
  return {
    columns: stream.columns || 80,
    rows: stream.rows || 24,
    unicode: /utf-?8/i.test(locale),
    style: (name, text) => (colour && text !== '' ? styleText(name, text, { validateStream: false }) : text),
  }
}
