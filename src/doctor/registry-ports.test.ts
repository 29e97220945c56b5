import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FixtureHost } from '../../test/fixture-host.ts'
import { readProcessTable } from '../sys/process-files.ts'
import { findRegistryPorts } from './registry-ports.ts'

const asked: string[] = []

/** By process: its name, its words and its environment. */
function ports(...processes: (readonly [name: string, words: string, environment?: string])[]): string[] {
  const files = processes.flatMap(([name, words, environment = ''], at) => [
    [`/proc/${at + 7}/stat`, `${at + 7} (${name}) S 1 7 7 0 ${'0 '.repeat(46)}`],
    [`/proc/${at + 7}/cmdline`, `${words.replaceAll(' ', '\0')}\0`],
    [`/proc/${at + 7}/environ`, `${environment.replaceAll(' ', '\0')}\0`],
  ])
  const host = new FixtureHost({ files: Object.fromEntries(files) })
  const text = host.text.bind(host)
  host.text = path => {
    asked.push(path)
    return text(path)
  }
  return [...findRegistryPorts(host, readProcessTable(host))].filter(port => !['443', '80', '5000'].includes(port))
}

test('registries are asked at the usual ports, at those that clients name, and at those of proxies', () => {
  assert.deepEqual(ports(['ctr', 'ctr images pull registry.example.com:30020/a:1']), ['30020'])
  // Of another engine, whose user is not known: what one engine downloads another may have asked it for.
  assert.deepEqual(ports(['docker', 'docker pull corp.example.com:8443/a'], ['podman', 'podman pull b:8444/c']), [
    '8443',
    '8444',
  ])
  const words = 'dockerd --https-proxy=http://proxy:3128'
  assert.deepEqual(
    ports(['dockerd', words, 'HTTP_PROXY=http://a:1111/'], ['containerd', 'c', 'https_proxy=http://b:2222']),
    ['1111', '3128', '2222'],
  )
  assert.deepEqual(
    ports(['ctr', 'ctr images ls', 'HTTP_PROXY=http://a:1'], ['node', 'node pull a:7/b', 'HTTP_PROXY=http://a:2']),
    [],
  )
  assert.deepEqual(ports(['dockerd', 'dockerd', 'NO_PROXY=a:4317']), [])
  // Whoever asks a stranger for his words may hang with him.
  asked.length = 0
  assert.deepEqual(ports(['postgres', 'docker pull a:7/b']), [])
  assert.ok(!asked.includes('/proc/7/cmdline'))
})
