import { write } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { PullEvent } from '../copy/events.ts'
import type { PlaceOptions } from '../copy/places.ts'
import { WindlassError, wrapError } from '../errors.ts'
import type { ByteSink } from '../places/archive/tar-output.ts'
import type { Context, OptionValues, Progress } from './command.ts'
import { type connectionOptions, readConnections } from './connections.ts'
import { openCredentials } from './credentials.ts'

/** Of the commands that copy as it is what a place has. */
export const referrersOption = {
  referrers: {
    type: 'boolean',
    summary:
      "copy signatures, attestations and bills of materials, too: what refers to the image, and what cosign's tags name",
  },
} as const

/** What every command that moves images hands on. */
export async function placeOptions(
  context: Context,
  connections: OptionValues<typeof connectionOptions>,
): Promise<PlaceOptions> {
  const { env, root, signal } = context
  const registry = { ...(await readConnections(context, connections)), credentials: await openCredentials(context) }
  return { root, signal, registry, env }
}

/** Shows the progress of a transfer, one image after the other, and gives its result. */
export async function showRun<Result>(
  context: Context,
  name: string,
  run: AsyncIterable<PullEvent> & { readonly result: Promise<Result> },
): Promise<Result> {
  run.result.catch(() => {})
  let progress: Progress | undefined
  try {
    for await (const event of run) {
      if (event.type === 'start') {
        progress?.[Symbol.dispose]()
        progress = undefined
      }
      progress ??= await context.openProgress(name)
      progress.handle(event)
    }
  } finally {
    progress?.[Symbol.dispose]()
  }
  return await run.result
}

/** How soon a pipe that is full, and does not block, is tried again. */
const fullPipeMs = 5

/** An archive to stdout. Node's own stdout would block the main thread while nobody reads. */
export function openStdoutSink({ stdout }: Context): ByteSink {
  if (stdout.isTTY === true) {
    const hint = 'redirect it, or name a file with -o FILE'
    throw new WindlassError('USAGE', 'Cannot write an archive to a terminal', { hint })
  }
  const writeOnce = (chunk: Uint8Array): Promise<number> =>
    new Promise((resolve, reject) => {
      write(1, chunk, (error, written) => (error === null ? resolve(written) : reject(error)))
    })
  return {
    name: 'stdout',
    write: async chunk => {
      for (let at = 0; at < chunk.length; ) {
        try {
          at += await writeOnce(chunk.subarray(at))
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw stdoutError(error)
          await sleep(fullPipeMs)
        }
      }
    },
    commit: async () => {},
    [Symbol.asyncDispose]: async () => {},
  }
}

/** A full disk behind stdout is not that of the store. */
function stdoutError(cause: unknown): WindlassError {
  const { code, message } = wrapError(cause, 'Cannot write to stdout')
  const hint = 'look at where stdout goes to, and its disk'
  return new WindlassError(code, message, { cause, hint, facts: { output: 'stdout' } })
}

/** What a terminal is shown at most. */
const shownMax = 1024 * 1024

/** A file to stdout; a terminal gets text only, since it obeys other bytes. */
export function openFileToStdout(context: Context): ByteSink {
  if (context.stdout.isTTY !== true) return openStdoutSink(context)
  const chunks: Buffer[] = []
  let size = 0
  return {
    name: 'the terminal',
    write: async chunk => {
      size += chunk.length
      if (size <= shownMax) chunks.push(Buffer.from(chunk))
    },
    commit: async () => {
      const text = size <= shownMax ? readText(Buffer.concat(chunks)) : undefined
      if (text === undefined) {
        const hint = 'redirect it, or name a file with -o FILE'
        throw new WindlassError('USAGE', 'Cannot write to a terminal: it is no text, or long', { hint })
      }
      context.stdout.write(text)
    },
    [Symbol.asyncDispose]: async () => {},
  }
}

function readText(bytes: Buffer): string | undefined {
  const text = bytes.toString()
  return Buffer.from(text).equals(bytes) && !/[^\P{Cc}\t\r\n]|\p{Cf}/u.test(text) ? text : undefined
}
