import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { TestDirectory } from '../../test/unpack-tar.ts'
import { trimCompiledCode } from './compiled-code.ts'

const day = 24 * 60 * 60_000
const now = Date.UTC(2026, 10, 27)

function makeVersion(directory: string, name: string, ageMs: number): string {
  const path = join(directory, name)
  mkdirSync(path)
  writeFileSync(join(path, 'a'), '')
  setAge(path, ageMs)
  return path
}

function setAge(path: string, ageMs: number): void {
  utimesSync(path, new Date(now - ageMs), new Date(now - ageMs))
}

test('of other versions the newest few stay, for a month; the own one stays', async () => {
  using directory = new TestDirectory()
  for (let age = 1; age <= 7; age++) makeVersion(directory.path, `v${age}`, age * 9 * day)
  const current = makeVersion(directory.path, 'own', 400 * day)
  await trimCompiledCode(directory.path, current, now)
  assert.deepEqual(readdirSync(directory.path).toSorted(), ['own', 'v1', 'v2', 'v3'])
  assert.deepEqual(readdirSync(current), ['a'])
})

test('of very many files those go that were compiled first', async () => {
  using directory = new TestDirectory()
  const current = makeVersion(directory.path, 'own', 0)
  const names = Array.from({ length: 4000 }, (_, at) => String(at))
  for (const name of names.slice(1)) writeFileSync(join(current, name), '')
  await trimCompiledCode(directory.path, current, now)
  assert.equal(readdirSync(current).length, 4000)
  writeFileSync(join(current, '0'), '')
  for (const name of names.slice(0, 2001)) setAge(join(current, name), day)
  await trimCompiledCode(directory.path, current, now)
  const left = readdirSync(current)
  assert.deepEqual([left.length, left.includes('3999'), left.includes('2000')], [2000, true, false])
})

test('a link is followed nowhere, and what is not there is no fault', async () => {
  using directory = new TestDirectory()
  using precious = new TestDirectory()
  makeVersion(precious.path, 'x', 400 * day)
  const current = makeVersion(directory.path, 'own', 0)
  symlinkSync(precious.path, join(directory.path, 'v1'))
  const old = makeVersion(directory.path, 'v2', 40 * day)
  symlinkSync(precious.path, join(old, 'link'))
  setAge(old, 40 * day)
  await trimCompiledCode(directory.path, current, now)
  assert.deepEqual(readdirSync(join(precious.path, 'x')), ['a'])
  assert.deepEqual(readdirSync(directory.path).toSorted(), ['own', 'v1'])
  await trimCompiledCode(join(directory.path, 'nothing'), join(directory.path, 'nothing/own'), now)
})

test('what is kept elsewhere, beside that of other programs, is left alone, and so is ours meanwhile', async () => {
  using directory = new TestDirectory()
  using shared = new TestDirectory()
  makeVersion(directory.path, 'own', 0)
  makeVersion(directory.path, 'old', 400 * day)
  const current = makeVersion(shared.path, 'own', 0)
  for (let at = 0; at < 4001; at++) writeFileSync(join(current, String(at)), '')
  await trimCompiledCode(directory.path, current, now)
  assert.equal(readdirSync(current).length, 4002)
  assert.deepEqual(readdirSync(directory.path).toSorted(), ['old', 'own'])
})
