exception Refused {
    1: string reason
}

service HelloService {
    string sayHello(1: string name) throws (1: Refused refused)
    string wait(1: string name, 2: i32 milliseconds)
    oneway void note(1: string text)
}
