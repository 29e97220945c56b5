import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseClientPull } from './clients.ts'

interface Told {
  readonly text: string
  readonly namespace?: string
  readonly socket: string | undefined
}

const [docker, containerd] = ['/run/docker.sock', '/run/containerd/containerd.sock']
const lines: Readonly<Record<string, Told | undefined>> = {
  'docker pull team/app:1': { text: 'team/app:1', socket: docker },
  'docker -H unix:///s image pull -q host:5000/app@sha256:HEX': { text: 'host:5000/app@sha256:HEX', socket: '/s' },
  'docker --host=unix:///var/run/d pull app': { text: 'app', socket: '/run/d' },
  'DOCKER_HOST=ssh://node docker pull app': { text: 'app', socket: 'ssh://node' },
  'ctr images pull --plain-http host.example/app:1': { text: 'host.example/app:1', socket: containerd },
  'ctr -a /s -n k8s.io i pull host.example/app:1': { text: 'host.example/app:1', namespace: 'k8s.io', socket: '/s' },
  'ctr --namespace=moby images pull host/app:1': { text: 'host/app:1', namespace: 'moby', socket: containerd },
  'nerdctl --namespace build pull app': { text: 'app', namespace: 'build', socket: containerd },
  'crictl pull host.example/app:1': { text: 'host.example/app:1', namespace: 'k8s.io', socket: undefined },
  'crictl -r unix:///s pull app': { text: 'app', namespace: 'k8s.io', socket: '/s' },
  'podman pull app': undefined,
  'docker run app': undefined,
  'docker pull': undefined,
  'docker pull team/App': undefined,
  'git pull origin': undefined,
}

for (const [line, wanted] of Object.entries(lines)) {
  test(`${line}: ${wanted === undefined ? 'no pull of an engine' : `a pull of ${wanted.text}`}`, () => {
    const hex = (text: string) => text.replace('HEX', 'a'.repeat(64))
    const words = hex(line).split(' ')
    const variables = words.filter(word => /^[A-Z_]+=/.test(word)).map(word => word.split('=') as [string, string])
    const args = words.slice(variables.length)
    const found = parseClientPull(args[0] ?? '', args, new Map(variables))
    const told = found.map(({ text, namespace, socket }) => ({ text, namespace, socket }))
    const { text = '', namespace, socket } = wanted ?? {}
    assert.deepEqual(told, wanted === undefined ? [] : [{ text: hex(text), namespace, socket }])
  })
}
