import assert from 'node:assert/strict'
import { test } from 'node:test'
import { makeEngine } from '../../test/checked.ts'
import { FixtureHost } from '../../test/fixture-host.ts'
import { contextFile } from '../places/docker/endpoint.ts'
import { readProcessTable } from '../sys/process-files.ts'
import { elsewhere } from './client-address.ts'
import { findClientPulls, parseClientPull } from './clients.ts'
import { findWriters } from './writers.ts'

interface Told {
  readonly text: string
  readonly namespace?: string
  readonly socket: string | undefined
  readonly platform?: string
  readonly isOfMany?: boolean
}

const [docker, containerd] = ['/run/docker.sock', '/run/containerd/containerd.sock']
const lines: Readonly<Record<string, Told | undefined>> = {
  'docker pull team/app:1': { text: 'team/app:1', socket: docker },
  'docker -H unix:///s image pull -q host:5000/app@sha256:HEX': { text: 'host:5000/app@sha256:HEX', socket: '/s' },
  'docker --host=unix:///var/run/d pull app': { text: 'app', socket: '/run/d' },
  'DOCKER_HOST=ssh://node docker pull app': { text: 'app', socket: 'ssh://node' },
  'ctr images pull --plain-http host.example/app:1': {
    text: 'host.example/app:1',
    namespace: 'default',
    socket: containerd,
  },
  'ctr -a /s -n k8s.io i pull host.example/app:1': { text: 'host.example/app:1', namespace: 'k8s.io', socket: '/s' },
  'ctr --namespace=moby images pull host/app:1': { text: 'host/app:1', namespace: 'moby', socket: containerd },
  'nerdctl --namespace build pull app': { text: 'app', namespace: 'build', socket: '/run/k3s/containerd.sock' },
  'nerdctl pull app': { text: 'app', namespace: 'k8s.io', socket: '/run/k3s/containerd.sock' },
  'CONTAINERD_ADDRESS=/s CONTAINERD_NAMESPACE=n nerdctl pull app': { text: 'app', namespace: 'n', socket: '/s' },
  'NERDCTL_TOML=/h/nerdctl.toml nerdctl pull app': { text: 'app', namespace: 'default', socket: containerd },
  'NERDCTL_TOML=/none nerdctl pull app': { text: 'app', namespace: 'default', socket: containerd },
  'RECORD=1 nerdctl pull app': { text: 'app', socket: containerd },
  'crictl pull host.example/app:1': { text: 'host.example/app:1', namespace: 'k8s.io', socket: undefined },
  'crictl --config /h/crictl.yaml pull app': { text: 'app', namespace: 'k8s.io', socket: '/run/r.sock' },
  'crictl --config /h/images.yaml -r /r pull app': { text: 'app', namespace: 'k8s.io', socket: '/run/i.sock' },
  'crictl --config /h/crictl.yaml -r /r pull app': { text: 'app', namespace: 'k8s.io', socket: '/r' },
  'CRI_CONFIG_FILE=/h/crictl.yaml crictl -i /i pull app': { text: 'app', namespace: 'k8s.io', socket: '/i' },
  'docker -H : pull app': { text: 'app', socket: 'tcp://:' },
  'docker -H unix:// pull app': { text: 'app', socket: docker },
  'DOCKER_HOST=ssh://node docker --host= pull app': { text: 'app', socket: docker },
  'crictl -r unix:/var/run/s pull app': { text: 'app', namespace: 'k8s.io', socket: '/run/s' },
  'crictl -r unix:///s pull app': { text: 'app', namespace: 'k8s.io', socket: '/s' },
  'docker pull app --platform linux/amd64': { text: 'app', socket: docker, platform: 'linux/amd64' },
  'docker pull --platform=linux/arm64 app -q': { text: 'app', socket: docker, platform: 'linux/arm64' },
  'docker image pull app --disable-content-trust=false --quiet': { text: 'app', socket: docker },
  'DOCKER_DEFAULT_PLATFORM=linux/arm64 docker pull app': { text: 'app', socket: docker, platform: 'linux/arm64' },
  'docker --tlscert pull -H/s -l debug pull -- app': { text: 'app', socket: '/s' },
  'docker -DH /s pull app': { text: 'app', socket: '/s' },
  'docker pull -qa team/app': { text: 'team/app', socket: docker, isOfMany: true },
  'docker pull --all-tags=false team/app': { text: 'team/app', socket: docker },
  'docker -c node pull app': { text: 'app', socket: elsewhere },
  'DOCKER_CONTEXT=node docker pull app': { text: 'app', socket: elsewhere },
  'DOCKER_CONTEXT=node DOCKER_HOST=unix:///s docker pull app': { text: 'app', socket: '/s' },
  'HOME=/h docker pull app': { text: 'app', socket: 'ssh://root@node' },
  'HOME=/h DOCKER_HOST=unix:///s docker pull app': { text: 'app', socket: '/s' },
  'HOME=/h docker -H /s pull app': { text: 'app', socket: '/s' },
  'HOME=/h docker -c default pull app': { text: 'app', socket: docker },
  'HOME=/h DOCKER_CONTEXT=default docker pull app': { text: 'app', socket: docker },
  'HOME=/h DOCKER_HOST=unix:///s docker --context rootless pull app': {
    text: 'app',
    socket: '/run/user/7/docker.sock',
  },
  'HOME=/h DOCKER_CONTEXT=rootless docker pull app': { text: 'app', socket: '/run/user/7/docker.sock' },
  'HOME=/h docker -c broken pull app': { text: 'app', socket: elsewhere },
  'HOME=/h docker --config /other pull app': { text: 'app', socket: docker },
  'DOCKER_CONFIG=/h/.docker HOME=/x docker pull app': { text: 'app', socket: 'ssh://root@node' },
  'RECORD=1 HOME=/h docker pull app': { text: 'app', socket: docker },
  'RECORD=1 HOME=/h docker -c node pull app': { text: 'app', socket: elsewhere },
  'docker exec app git pull origin': undefined,
  'docker run alpine/git pull origin': undefined,
  'docker run --pull always app bash': undefined,
  'docker compose pull web': undefined,
  'docker pull --what-is-this app': undefined,
  'docker pull app --platform': undefined,
  'ctr i pull host/app:1 bob:secret': { text: 'host/app:1', namespace: 'default', socket: containerd },
  'ctr i pull -u bob:secret host/app:1': { text: 'host/app:1', namespace: 'default', socket: containerd },
  'ctr i pull -user bob:secret -k -platform linux/arm64 host/app:1': {
    text: 'host/app:1',
    namespace: 'default',
    socket: containerd,
    platform: 'linux/arm64',
  },
  'ctr -n=k8s.io i pull host/app:1 --platform linux/arm64': undefined,
  'ctr -n=k8s.io i pull host/app:1 --all-platforms': undefined,
  'ctr -n=k8s.io i pull host/app:1': { text: 'host/app:1', namespace: 'k8s.io', socket: containerd },
  'ctr i pull --platform linux/arm64 --platform linux/amd64 host/app:1': {
    text: 'host/app:1',
    namespace: 'default',
    socket: containerd,
    isOfMany: true,
  },
  'ctr i pull --all-platforms host/app:1': {
    text: 'host/app:1',
    namespace: 'default',
    socket: containerd,
    isOfMany: true,
  },
  'CONTAINERD_NAMESPACE=build ctr i pull host/app:1': { text: 'host/app:1', namespace: 'build', socket: containerd },
  'ctr run host/app:1 pull x': undefined,
  'nerdctl pull app --namespace=moby': { text: 'app', namespace: 'moby', socket: '/run/k3s/containerd.sock' },
  'nerdctl -a /s -n k8s.io pull app --platform amd64,arm64': {
    text: 'app',
    namespace: 'k8s.io',
    socket: '/s',
    isOfMany: true,
  },
  'crictl pull --creds bob:secret app': { text: 'app', namespace: 'k8s.io', socket: undefined },
  'IMAGE_SERVICE_ENDPOINT=/i CONTAINER_RUNTIME_ENDPOINT=/r crictl pull app': {
    text: 'app',
    namespace: 'k8s.io',
    socket: '/i',
  },
  'crictl exec pull app': undefined,
  'podman pull --creds bob:secret host.example/app': { text: 'host.example/app', socket: undefined },
  'podman --root /r pull docker://localhost/app --arch arm64': {
    text: 'localhost/app',
    socket: undefined,
    platform: 'linux/arm64',
  },
  'podman pull --variant v7 h.example/app': { text: 'h.example/app', socket: undefined, platform: 'linux/amd64/v7' },
  'podman pull --os freebsd h.example/app': { text: 'h.example/app', socket: undefined, platform: 'freebsd/amd64' },
  'podman pull --arch arm --variant v6 h.example/app': {
    text: 'h.example/app',
    socket: undefined,
    platform: 'linux/arm/v6',
  },
  'podman --remote pull h.example/app': { text: 'h.example/app', socket: elsewhere },
  'podman -c node pull h.example/app': { text: 'h.example/app', socket: elsewhere },
  'podman --url unix:///s pull h.example/app': { text: 'h.example/app', socket: '/s' },
  'CONTAINER_HOST=unix:///s podman pull h.example/app': { text: 'h.example/app', socket: '/s' },
  'CONTAINER_HOST=unix:///s podman --remote=false pull h.example/app': { text: 'h.example/app', socket: undefined },
  'CONTAINER_CONNECTION=node podman pull h.example/app': { text: 'h.example/app', socket: elsewhere },
  'podman pull app': undefined,
  'podman pull oci-archive:/a/b.tar': undefined,
  'docker run app': undefined,
  'docker pull': undefined,
  'docker pull team/App': undefined,
  'git pull origin': undefined,
}

/** The files of a user. */
const files: Readonly<Record<string, string>> = {
  '/h/.docker/config.json': '{"auths":{},"currentContext":"node"}',
  [contextFile('/h/.docker', 'node')]: '{"Name":"node","Endpoints":{"docker":{"Host":"ssh://root@node"}}}',
  [contextFile('/h/.docker', 'rootless')]: '{"Endpoints":{"docker":{"Host":"unix:///run/user/7/docker.sock"}}}',
  [contextFile('/h/.docker', 'broken')]: '{"Endpoints":',
  '/etc/nerdctl/nerdctl.toml': 'debug = false\naddress  = "unix:///run/k3s/containerd.sock"\nnamespace = "k8s.io"\n',
  '/h/nerdctl.toml': 'snapshotter = "overlayfs"\n[x]\nnamespace = "none"\n',
  '/h/images.yaml': 'image-endpoint: "unix:///run/i.sock"\nruntime-endpoint: unix:///run/r.sock\n',
  '/h/crictl.yaml': '# made by hand\nruntime-endpoint: unix:///run/r.sock\nimage-endpoint: ""\ntimeout: 2\n',
}

for (const [line, wanted] of Object.entries(lines)) {
  test(`${line}: ${wanted === undefined ? 'no pull of an engine' : `a pull of ${wanted.text}`}`, async () => {
    const hex = (text: string) => text.replace('HEX', 'a'.repeat(64))
    const words = hex(line).split(' ')
    const variables = words.filter(word => /^[A-Z_]+=/.test(word)).map(word => word.split('=') as [string, string])
    const args = words.slice(variables.length)
    const env = new Map(variables)
    const isKnown = !env.delete('RECORD')
    const read = async (path: string) => (isKnown ? (files[path] ?? '') : undefined)
    const found = await parseClientPull(args[0] ?? '', args, { env, arch: 'x64', isRoot: true, read })
    const told = found.map(({ reference: _, ...rest }) => rest)
    const { text = '', namespace, socket, platform, isOfMany = false } = wanted ?? {}
    const all = [{ text: hex(text), namespace, socket, platform, isOfMany }]
    assert.deepEqual(told, wanted === undefined ? [] : all)
  })
}

test('a podman is an engine of its own: what another one pulls is not pulled by it', async () => {
  const files = Object.fromEntries(
    [7, 8].flatMap(pid => [
      [`/proc/${pid}/stat`, `${pid} (podman) S 1 ${pid} ${pid} 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0`],
      [`/proc/${pid}/status`, `Uid:\t${process.getuid?.()}\t0\n`],
      [`/proc/${pid}/cmdline`, `podman\0pull\0host.example/app:${pid}\0`],
    ]),
  )
  const engine = makeEngine(7, { kind: 'podman' })
  const found = await findClientPulls(new FixtureHost({ files }), engine)
  assert.deepEqual(
    found.map(({ text }) => text),
    ['host.example/app:7'],
  )
})

test('a client whose own files send it elsewhere waits for no engine here', async () => {
  const [engine, socket] = [makeEngine(7, { kind: 'dockerd', sockets: ['/var/run/docker.sock'] }), '/run/docker.sock']
  const ofHome = async (home: string, more: Readonly<Record<string, string>> = {}) => {
    const host = new FixtureHost({
      files: {
        ...more,
        '/proc/8/stat': '8 (docker) S 1 8 8 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0',
        '/proc/8/status': `Uid:\t${process.getuid?.()}\t0\n`,
        '/proc/8/cmdline': 'docker\0pull\0app\0',
        '/proc/8/environ': `HOME=${home}\0`,
      },
    })
    return (await findClientPulls(host, engine)).map(({ socket }) => socket)
  }
  assert.deepEqual(await ofHome('/x'), [socket])
  assert.deepEqual(await ofHome('/h', files), [])
  const here = { '/h/.docker/config.json': '{"currentContext":"default"}' }
  assert.deepEqual(await ofHome('/h', here), [socket])
})

test('a process that is called like what every object of JavaScript has is nobody in particular', async () => {
  const names = ['constructor', 'toString', 'valueOf', '__proto__', 'hasOwnProperty']
  const files = Object.fromEntries(
    names.flatMap((name, at) => [
      [`/proc/${at + 2}/stat`, `${at + 2} (${name}) S 1 2 2 0 -1 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0`],
      [`/proc/${at + 2}/status`, `Uid:\t${process.getuid?.()}\t0\n`],
      [`/proc/${at + 2}/cmdline`, `${name}\0pull\0app\0`],
    ]),
  )
  const host = new FixtureHost({ files })
  const engine = makeEngine(7, { kind: 'containerd' })
  const entries = [...readProcessTable(host).values()]
  assert.deepEqual(
    entries.map(({ name }) => name),
    names,
  )
  assert.deepEqual(await findClientPulls(host, engine), [])
  assert.deepEqual((await findWriters(host, engine, readProcessTable(host))).pids, [])
})
