import assert from 'node:assert/strict'
import { test } from 'node:test'
import { makeFinding } from '../../doctor/finding.ts'
import { WindlassError } from '../../errors.ts'
import type { Context } from '../command.ts'
import { watch } from './watch.ts'

/** What is told by a watch of these looks, and how it ends; each is what it finds, or what it throws. */
async function watchOf(...looks: (readonly Parameters<typeof makeFinding>[] | Error)[]) {
  const told: string[] = []
  const over = new AbortController()
  const write = (text: string) => told.push(text.trim())
  const context = {
    json: true,
    logLevel: 'info',
    stdout: { write },
    stderr: { write },
    signal: over.signal,
  } as unknown as Context
  const visit = async () => {
    const look = looks.shift()
    if (look === undefined) over.abort(new Error('it is over'))
    if (look instanceof Error) throw look
    return { findings: (look ?? []).map(words => makeFinding(...words)) }
  }
  const end = await watch(context, visit, { language: 'en', pauseMs: 1 }).catch((error: Error) => error.message)
  return { told: told.map(line => (/"code":"(\w+)"/.exec(line) ?? [])[1] ?? line), end }
}

const stopped = ['ENGINE_STOPPED', 'dockerd 7'] as const
const silent = ['ENGINE_SILENT', 'dockerd 7'] as const
const unreachable = new WindlassError('ENGINE_UNREACHABLE', 'Cannot reach node')

test('what is new is told, once, and again where it was gone', async () => {
  const { told } = await watchOf([[...stopped]], [[...stopped], [...silent]], [], [[...stopped]])
  assert.deepEqual(told, ['ENGINE_STOPPED', 'ENGINE_SILENT', 'ENGINE_STOPPED'])
})

test('a look that fails is told and made again, and what was known before is no news after it', async () => {
  const { told, end } = await watchOf([[...stopped]], unreachable, [[...stopped]])
  assert.deepEqual([told.length, told[0], end], [2, 'ENGINE_STOPPED', 'it is over'])
  assert.match(told[1] ?? '', /Cannot reach node/)
})

test('one that fails at once, or whose process has ended, ends', async () => {
  assert.equal((await watchOf(unreachable, [])).end, 'Cannot reach node')
  const gone = new WindlassError('NOT_FOUND', 'Cannot look at process 7: there is no such process')
  assert.match((await watchOf([], gone, [])).end, /no such process/)
})
